"""Reynard Diffusion: a backend that serves diffusion language models."""
