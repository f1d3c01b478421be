"""Starts the server: `python main.py`."""

from __future__ import annotations

import sys

from app.cli.server_process import run_server


def main() -> int:
    return run_server()


if __name__ == "__main__":
    sys.exit(main())
