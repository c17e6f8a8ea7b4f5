"""Ablations: the same benchmark with one thing changed."""
