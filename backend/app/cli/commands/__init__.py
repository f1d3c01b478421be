"""The commands, one in each file under the name `command`.

A command is imported when it is called, and imports heavy modules when it runs.
"""
