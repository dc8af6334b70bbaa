"""Utilities: what a player wants more of, per example; higher is better."""
