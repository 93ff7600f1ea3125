"""Starts the worker, reads it, cancels it. No bpy: everything here runs and is tested in plain Python."""
