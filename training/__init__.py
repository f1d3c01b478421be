"""Rebuilds the embedded checkpoints from nothing: sources, tokens, training, evaluation, export.

Imports `app.engine.models` and trains those very modules; nothing in `app` imports this package.
"""
