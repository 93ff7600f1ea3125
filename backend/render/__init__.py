"""Renderers: triangle meshes now; Gaussians and volumes later. Tensors in, tensors out."""
