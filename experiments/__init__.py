"""The comparison: runs, metrics, statistics and reports."""
