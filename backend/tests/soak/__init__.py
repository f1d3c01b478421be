"""Hours of bad days in minutes: mixed traffic with cancels, slow readers, bad input, reloads, configuration changes and
injected faults against a real server process, and a ledger of its own that must agree with the server's counters.

`python -m tests.soak` runs it and says whether anything was lost, counted twice, stuck or leaked.
"""
