"""Constraints on text: JSON schemas, regular expressions and choices become automata over tokens."""
