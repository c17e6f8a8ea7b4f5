"""Backbones: pretrained networks with their own preprocessing, from pixels to feature vectors."""
