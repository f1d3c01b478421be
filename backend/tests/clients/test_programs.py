"""Programs that use other people's clients, unmodified and each in an environment of its own.

`make test-clients` makes the environments, and names their folder in the variable CLIENTS; without one these are
skipped.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.environments import ENVIRONMENTS, FOLDER, Environment

WITHOUT_OUTSIDE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1", "NO_PROXY": "localhost,127.0.0.1"}
"""Variables by which clients ask nobody but the server."""

PROGRAMS = [(environment, program) for environment in ENVIRONMENTS for program in environment.programs]


@pytest.mark.parametrize(("environment", "program"), PROGRAMS, ids=[program for _, program in PROGRAMS])
def test_a_program_of_a_client_runs_to_its_end(
    environment: Environment, program: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command = environment.command(Path(os.environ.get(FOLDER, "not there")), program)
    if command is None:
        pytest.skip(f"needs the environment {environment.name}: make test-clients")
    url = request.getfixturevalue("server").url
    done = subprocess.run(
        [*command, url],
        cwd=tmp_path,
        env={**os.environ, **WITHOUT_OUTSIDE},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
