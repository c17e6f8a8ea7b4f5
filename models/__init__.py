"""Backbones, features, heads and the classifiers built from them (the only place that imports Keras)."""

from .tensorflow_loading import keep_quiet

keep_quiet()
