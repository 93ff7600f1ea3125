"""Losses and image metrics."""
