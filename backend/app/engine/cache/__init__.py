"""Cached keys and values: which part of a canvas a step computes (plans), and where the rest is stored (store,
lanes)."""
