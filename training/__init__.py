"""Rebuilds the embedded checkpoints from nothing: sources, tokens, training, evaluation, export.

Imports `app.engine.models` and trains those very modules; nothing in `app` imports this package.
"""

# Sets the waiting policy of OpenMP before torch is imported; without it idle threads spin.
import app.engine as _engine  # noqa: F401
