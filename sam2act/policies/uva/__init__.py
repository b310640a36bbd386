"""UVA: one masked autoregressive transformer that imagines the next frames and acts."""
