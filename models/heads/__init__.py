"""Heads: trainable layers and closed-form classifiers on features."""
