"""The README's own snippets, as they stand but for the port."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.services.diffusion import DiffusionLLMService
from tests.api.serving import Server

README = Path(__file__).parents[3] / "README.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
CURLS = [block for _, block in BLOCKS if block.startswith("curl")]
PYTHONS = [block for language, block in BLOCKS if language == "python"]


def test_there_are_snippets() -> None:
    assert len(CURLS) == 2
    assert len(PYTHONS) == 2


@pytest.mark.parametrize("command", CURLS)
def test_curl(server: Server, command: str) -> None:
    here = command.replace("http://localhost:8000", server.url).replace("curl ", "curl --silent --fail ")
    printed = subprocess.run(["bash", "-c", here], capture_output=True, text=True, check=True).stdout
    answers = [json.loads(line) for line in printed.splitlines()]
    if "/stream" in command:
        assert answers[-1]["type"] == "complete"
    else:
        assert answers[0]["success"] is True


async def run_with_await(source: str, names: dict[str, Any]) -> None:
    """Runs a snippet as a notebook would, with `await` outside of functions."""
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result


async def test_python(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    service_snippet, model_snippet = PYTHONS
    try:
        await run_with_await(service_snippet, names)
        assert "complete None" in capsys.readouterr().out
        await run_with_await(model_snippet, names)
        service: DiffusionLLMService = names["service"]
        async with asyncio.timeout(30):
            assert (await service.generate_stream("a b", model_id="parrot")).text == "a b "
    finally:
        await names["service"].close()
