"""Logits to commits: samplers (`block`, `timestep`, `variable_length`) and the parts that they are composed of."""
