"""Metrics: numbers that say how good answers are."""
