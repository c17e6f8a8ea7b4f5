"""Hierarchical two-stage image classification of products, refereed against one flat model."""
