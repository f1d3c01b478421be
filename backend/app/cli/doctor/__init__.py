"""The checks of `reynard-diffusion doctor`; a check gives findings, and no finding stops it."""
