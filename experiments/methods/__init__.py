"""Methods: whatever is compared."""
