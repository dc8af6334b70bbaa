"""Distributions over events of any shape."""
