"""Bundles and exports: trained classifiers as files."""
