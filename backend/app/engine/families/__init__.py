"""Families of models: the only place where a network, a sampler, a cache plan and parameters meet."""
