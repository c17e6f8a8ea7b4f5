"""Paired tests, intervals and the verdict. Arrays in, numbers out."""
