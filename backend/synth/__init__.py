"""Captures with known truth, rendered from a rig model."""
