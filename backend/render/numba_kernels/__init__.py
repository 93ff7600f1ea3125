"""Compiled inner loops for the CPU (numba). Each file belongs to the public module of the same subject."""
