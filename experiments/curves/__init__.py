"""Curves: the comparison at several values of one condition, such as fine labels per class."""
