"""Cached keys and values: plans of what a step computes, and where everything else is stored."""
