"""How a command ends; a part of its contract with scripts."""

OK = 0
FAILED = 1
WRONG_USAGE = 2
NOT_REACHABLE = 3
INTERRUPTED = 130
"""As shells say it of a program that Ctrl-C has ended."""
