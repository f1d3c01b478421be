"""Tests of everything under `app`."""

# Sets the waiting policy of OpenMP, which torch reads when it is first imported; without it two threads spin.
import app.engine as _engine  # noqa: F401
