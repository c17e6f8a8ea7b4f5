"""What a comparison is judged by unless its settings say otherwise: one place for every default."""

ALPHA = 0.05
"""Level of the tests; intervals have 1 - ALPHA."""
MARGIN = 0.01
"""Differences of accuracy below this don't matter."""
