"""Distributions over the last axis of their value."""
