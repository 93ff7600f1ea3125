"""Measurements on a finished avatar: signals, images, truth. Imports nothing from ``track``."""
