"""Failures of commands, with a message for their user."""

from __future__ import annotations

import click

from app.cli import exit_codes


class Failure(click.ClickException):
    """Ends the command with a message."""

    exit_code = exit_codes.FAILED


class NotReachable(Failure):
    """No server can be reached."""

    exit_code = exit_codes.NOT_REACHABLE
