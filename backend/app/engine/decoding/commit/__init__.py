"""Commit rules: which predictions of a step become tokens. One rule a file, each from one paper."""
