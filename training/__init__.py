"""Rebuilds the embedded checkpoints from nothing: sources, tokens, training, evaluation, export.

The package trains the very modules of `app.engine.models`; nothing in `app` imports it.
"""

# Sets the waiting policy of OpenMP before torch is imported; without it idle threads spin.
import app.engine as _engine  # noqa: F401
