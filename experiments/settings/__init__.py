"""Settings of benchmark and training, and their presets."""
