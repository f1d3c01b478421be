"""Made-up input for everything that reads what others wrote: checkpoints, bodies, headers, and readers of our streams.

The unit tests say what happens to input that somebody thought of; these say that nothing else happens to the rest.
"""
