"""Representations: one folder per way of drawing a tracked head. A method never imports another."""
