"""Episodes in zarr stores: replay buffers of Diffusion Policy, samples of 3D FlowMatch Actor."""
