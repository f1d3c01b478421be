"""The exit codes of the commands, which are part of their contract with scripts."""

OK = 0
FAILED = 1
WRONG_USAGE = 2
NOT_REACHABLE = 3
INTERRUPTED = 130
"""The code that shells give to a program that Ctrl-C has ended."""
