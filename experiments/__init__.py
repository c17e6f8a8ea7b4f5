"""The comparison: studies, figures, statistics and reports."""
