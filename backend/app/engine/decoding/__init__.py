"""Logits to commits. Four small parts (schedule, rules and sampling, selection, length) and their compositions."""
