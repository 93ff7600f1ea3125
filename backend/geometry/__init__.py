"""Pure functions on tensors and arrays: rotations, cameras, meshes, closest points."""
