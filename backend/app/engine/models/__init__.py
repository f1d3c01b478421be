"""Diffusion language models as networks: the families, their checkpoints, nothing of decoding."""
