"""The comparison: studies, metrics, statistics and reports."""
