"""Constraints on text, as automata over token ids, and exact inference over what a canvas may still become."""
