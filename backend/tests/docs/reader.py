"""Someone who follows a page from top to bottom, doing what it says."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import yaml

from app.core.settings import CLIENT_VARIABLES, ENV_PREFIX, Settings
from app.services.diffusion import DiffusionLLMService
from tests.docs.markdown import ROOT, Block

SERVER_URL = "DIFFUSION_URL"
"""The variable with the server's URL for clients, if it is not localhost:8000."""
SHELL_TIMEOUT_S = 120.0
PROGRAMS = ("curl", "python", "reynard-diffusion", "echo", "printf", "cat")
"""The programs that a reader runs without any setup, and without harm."""
BEGINS_WITH_PROGRAM = re.compile(rf"(?:#.*\n|\w+=\S+ )*(?:{'|'.join(PROGRAMS)})\b")

STRICT = 'set -euo pipefail; curl() { command curl --silent --show-error --fail-with-body "$@"; }\n'
DOCUMENTED_SERVER = re.compile(r"(localhost|127\.0\.0\.1):8000")

READ_ONLY = "text"
"""The language of blocks that show something: what is printed, or a drawing."""


def read_settings(text: str) -> None:
    names = set(re.findall(rf"^({ENV_PREFIX}\w+)=", text, re.MULTILINE))
    assert names
    assert names <= CLIENT_VARIABLES | {ENV_PREFIX + name.upper() for name in Settings.model_fields}


PARSERS: Mapping[str, Callable[[str], object]] = {
    "env": read_settings,
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}
"""The parsers by language, for blocks that are not run but have to be right."""


class NotRunnable(Exception):
    """Nobody can tell whether the block is right."""


class Reader:
    """Has one Python session for a page, and a folder that looks like a checkout.

    Args:
        url: where the server is that pages call localhost:8000.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self._loop = asyncio.Runner()
        self._names: dict[str, Any] = {"__name__": "__main__"}
        for entry in ROOT.iterdir():
            (folder / entry.name).symlink_to(entry)

    def follow(self, block: Block) -> None:
        """Does what the block says; nothing where it gives a reason not to.

        Raises:
            NotRunnable: nothing says how to run it, and no reason why not.
        """
        if block.reason is not None or block.language == READ_ONLY:
            return
        text = DOCUMENTED_SERVER.sub(self._url.removeprefix("http://"), block.text)
        try:
            self._action(block)(text)
        except Exception as error:
            error.add_note(f"in the block at {block.place}")
            raise

    def close(self) -> None:
        """Ends the session, and what it has left open."""
        for value in self._names.values():
            if isinstance(value, DiffusionLLMService):
                self._loop.run(value.close())
        self._loop.close()

    def _action(self, block: Block) -> Callable[[str], object]:
        if block.language in ("bash", "console", "sh") and BEGINS_WITH_PROGRAM.match(block.text):
            return self._run_shell
        if block.language == "python":
            return self._run_python
        if block.language in PARSERS:
            return PARSERS[block.language]
        raise NotRunnable(
            f"a {block.language or 'nameless'} block that is not run here: mark output and drawings as ```text, and "
            f"give a reason for others above them, <!-- not run: needs a GPU -->; shell blocks begin with {PROGRAMS}"
        )

    def _run_python(self, text: str) -> None:
        """Runs the text as a notebook would: in a running event loop, with `await` outside of functions."""
        self._loop.run(self._run_in_loop(compile(text, "<page>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)))

    async def _run_in_loop(self, code: CodeType) -> None:
        result = eval(code, self._names)
        if inspect.isawaitable(result):
            await result

    def _run_shell(self, text: str) -> None:
        done = subprocess.run(
            ["bash", "-c", STRICT + text],
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=SHELL_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"
        return {**inherited, "PATH": path, SERVER_URL: self._url}
