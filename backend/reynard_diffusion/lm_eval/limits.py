"""The server's bounds of one request, and its default number of samples."""

MAX_TEXT_CHARACTERS = 10_000
"""The longest context of a generation."""
MAX_STOP_STRINGS = 16
MAX_TEXTS = 64
"""Texts whose likelihoods one request may ask."""
DEFAULT_SAMPLES = 128
