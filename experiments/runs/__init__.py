"""The run folder: what is written there, and reading it back."""
