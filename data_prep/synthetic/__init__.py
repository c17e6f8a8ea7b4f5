"""The synthetic catalogue: generated products in ABO's own formats."""
