"""Backbones, features, heads and the classifiers built from them (the only place that imports Keras)."""
