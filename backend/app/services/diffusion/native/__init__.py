"""Checkpoint folders as models of the service: text and engine joined."""
