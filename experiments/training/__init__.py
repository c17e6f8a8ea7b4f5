"""Training on images, from photographs to a bundle, and what came of it."""
