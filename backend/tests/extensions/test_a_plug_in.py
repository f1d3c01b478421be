"""A model of somebody else imports from a name that is nobody else's, in a folder that has an `app` of its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import reynard_diffusion_server
from tests.wheels import BACKEND

OTHER_APP = "raise ImportError('this is the app of somebody else')\n"

PLUG_IN = """
import sys

from reynard_diffusion_server import DiffusionModel, DiffusionStreamEvent


class Parrot(DiffusionModel):
    def __init__(self):
        super().__init__("parrot")

    async def generate_stream(self, params):
        for word in params.text.split():
            yield DiffusionStreamEvent(type="token", data=word + " ")


print(Parrot().capabilities, "torch" in sys.modules)
"""

SERVED = """
import asyncio

from reynard_diffusion_server import DiffusionLLMService


async def main():
    service = DiffusionLLMService()
    await service.initialize({"diffusion": {"enabled": False}})
    service.register_model(Parrot())
    print([model.model_id for model in service.list_models() if model.model_id == "parrot"])
    await service.close()


asyncio.run(main())
"""


def run(folder: Path, program: str, other_app: str = OTHER_APP) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder that has another package `app`, which Python finds first."""
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text(other_app)
    (folder / "program.py").write_text(program)
    variables = {**os.environ, "PYTHONPATH": str(BACKEND)}
    return subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=variables, capture_output=True, text=True, timeout=120
    )


def test_it_is_written_beside_another_app_without_waiting_for_torch(tmp_path: Path) -> None:
    done = run(tmp_path, PLUG_IN)
    assert (done.stdout, done.stderr) == ("('generate', 'chat') False\n", "")


def test_a_service_takes_it(tmp_path: Path) -> None:
    done = run(tmp_path, PLUG_IN + SERVED)
    assert done.stdout.splitlines()[1:] == ["['parrot']"], done.stderr


@pytest.mark.parametrize("other", ["import app", "import sys, types; sys.modules['app'] = types.ModuleType('app')"])
def test_another_app_that_was_imported_before_is_named_with_a_way_out(tmp_path: Path, other: str) -> None:
    done = run(tmp_path, f"{other}\nimport reynard_diffusion_server", other_app="")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: another package named app, ")
    assert "reynard-diffusion serve" in last
    assert (str(tmp_path / "app") in last) == (other == "import app")


def test_the_server_itself_may_have_been_imported_before(tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(BACKEND)!r}); import app\n{PLUG_IN}"
    assert run(tmp_path, program).stdout == "('generate', 'chat') False\n"


def test_every_name_is_that_of_the_server_and_known_to_type_checkers() -> None:
    tree = ast.parse(Path(reynard_diffusion_server.__file__).read_text(encoding="utf-8"))
    (typing,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        alias.name: node.module for node in typing.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(typed) == reynard_diffusion_server.__all__
    for name, home in typed.items():
        assert getattr(reynard_diffusion_server, name) is getattr(sys.modules[str(home)], name)
    with pytest.raises(AttributeError, match="has no attribute 'NoSuch'"):
        _ = reynard_diffusion_server.NoSuch


def test_the_older_names_stay() -> None:
    """The examples that the project began with import these, from `backend/`."""
    from app.services.diffusion import DiffusionLLMService
    from app.services.diffusion.base import DiffusionModel
    from app.services.diffusion.models import DiffusionStreamEvent

    older = (DiffusionLLMService, DiffusionModel, DiffusionStreamEvent)
    assert older == tuple(getattr(reynard_diffusion_server, each.__name__) for each in older)
