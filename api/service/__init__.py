"""`aisles serve`: a bundle behind HTTP, for programs."""
