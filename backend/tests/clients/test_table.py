from __future__ import annotations

import json
from pathlib import Path

from tests.clients.environments import ENVIRONMENTS, Python
from tests.clients.table import Outcome, lines, result_of, rows


def outcome(program: str, word: str) -> Outcome:
    return Outcome(f"tests/clients/test_programs.py::test_a_program_of_a_client_runs_to_its_end[{program}]", word)


def test_a_client_has_passed_when_all_of_its_programs_have() -> None:
    passed = [outcome("ask_openai.mjs", "passed"), outcome("ask_ai.mjs", "passed")]
    assert result_of(["ask_openai.mjs", "ask_ai.mjs"], passed) == "passed: ask_openai.mjs, ask_ai.mjs"
    assert result_of(["ask_openai.mjs"], [outcome("ask_openai.py", "passed")]) == "not run: ask_openai.mjs"
    mixed = [passed[0], outcome("ask_ai.mjs", "failed")]
    assert result_of(["ask_openai.mjs", "ask_ai.mjs"], mixed) == "failed: ask_ai.mjs"


def test_versions_are_those_that_are_installed(tmp_path: Path) -> None:
    about = tmp_path / "structured/lib/python3.12/site-packages/pydantic_ai_slim-2.1.dist-info/METADATA"
    about.parent.mkdir(parents=True)
    about.write_text("Metadata-Version: 2.1\nName: pydantic-ai-slim\nVersion: 2.1\n")
    module = tmp_path / "node/node_modules/@ai-sdk/openai/package.json"
    module.parent.mkdir(parents=True)
    module.write_text(json.dumps({"version": "4.5.6"}))
    table = {client: installed for client, installed, _ in rows(tmp_path, [])}
    packages = {package for environment in ENVIRONMENTS for package in environment.packages}
    assert {client.removesuffix(", Node") for client in table} == packages | {"lm-eval"}
    assert table["pydantic-ai-slim[openai]"] == "2.1"
    assert table["@ai-sdk/openai, Node"] == "4.5.6"
    assert table["openai"] == table["openai, Node"] == "not installed"


def test_columns_stand_below_each_other() -> None:
    assert lines([("a", "1.0", "passed: x")]) == ["client  version  result", "a       1.0      passed: x"]


def test_what_is_not_there_has_no_command(tmp_path: Path) -> None:
    assert Python("openai", ("openai",), ("ask_openai.py",)).command(tmp_path, "ask_openai.py") is None
