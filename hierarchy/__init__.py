"""Macro-categories: finding them, naming them, routing through them."""
