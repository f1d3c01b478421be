"""Answers that grow: events as bytes, and several generations in one answer."""
