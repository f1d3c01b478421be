"""Cached keys and values: which are kept, and where."""
