"""Mirrors `app/engine` file by file."""

# Before torch: importing the engine says how torch's threads wait. Spinning ones make these tests twenty times slower.
import app.engine  # noqa: F401
