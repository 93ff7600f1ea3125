"""Kernels in plain torch: any device, float64, differentiable as often as torch likes. The slow and obvious path."""
