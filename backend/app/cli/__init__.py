"""The command line: the server's process, and clients of a server for a terminal.

Each command is a file in `commands`.
"""
