"""Kernels for NVIDIA cards (Warp), which also run on Warp's CPU backend for testing. Same results as numba_kernels."""
