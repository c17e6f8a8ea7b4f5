"""Prediction: flat and two-stage classifiers, from images to answers."""
