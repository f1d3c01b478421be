"""Benchmarks that take minutes and are run by a person, never by CI; each prints a table and writes JSON."""

# Sets the waiting policy of OpenMP before torch is imported; without it idle threads spin.
import app.engine as _engine  # noqa: F401
