"""The benchmark: from images to a verdict and saved models."""
