"""The client's distribution, where an application lives: an environment without the server, a folder with an `app`."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

from app.core.version import VERSION as SERVER_VERSION
from reynard_diffusion.version import VERSION
from tests.api.plugin_models import words
from tests.api.serving import Server
from tests.docs.markdown import ROOT
from tests.wheels import BACKEND, CLIENT, Environment, built, client_source

PROGRAM = """
import asyncio, json, sys

from app import TEXT
from reynard_diffusion import AsyncDiffusionClient, DiffusionClient, InvalidRequest

async def streamed():
    async with AsyncDiffusionClient(sys.argv[1]) as client:
        return (await client.generate_stream(TEXT, model_id="words", max_length=3, seed=4).result()).text

with DiffusionClient(sys.argv[1]) as client:
    texts = [str(client.generate(TEXT, model_id="words", max_length=3, seed=4)), asyncio.run(streamed())]
    models = {model.model_id for model in client.model_details()}
    try:
        client.generate(TEXT, top_k=0)
    except InvalidRequest as error:
        print(json.dumps([texts, sorted(models), error.code]))
"""

TYPED = """
from reynard_diffusion import DiffusionClient

reveal_type(DiffusionClient().generate("Once upon a time", max_length=8, cache="dual").tokens_generated)
DiffusionClient().generate("Once upon a time", top_k="many")
"""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    return built(client_source(folder / "source"), folder, "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel that pip makes of the sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    return built(sdist.with_suffix("").with_suffix(""), sdist.parent, "wheel")


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment of the wheel, and of httpx with all that it requires."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.lend(["httpx"])
    environment.install(wheel)
    return environment


def metadata_of(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"reynard_diffusion_client-{VERSION}.dist-info/METADATA"))


def answered(environment: Environment, folder: Path, server: Server) -> list[object]:
    """The output of the program, in a folder that has an `app` of its own."""
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("TEXT = 'Once upon a time'\n")
    (folder / "program.py").write_text(PROGRAM)
    command = [str(environment.python), "program.py", server.url]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_its_wheel_says_what_it_is_and_needs_httpx_alone(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    assert (metadata["Version"], metadata["License-Expression"]) == (VERSION, "Apache-2.0")
    assert metadata["Requires-Python"] == ">=3.11"
    required = metadata.get_all("Requires-Dist")
    assert required is not None
    assert [each.partition(";")[0] for each in required if "extra ==" not in each] == ["httpx<1,>=0.28"]
    assert metadata.get_payload() == (CLIENT / "README.md").read_text(encoding="utf-8")


def test_its_wheel_has_every_file_and_the_licence(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info" not in name}
        licence = archive.read(f"reynard_diffusion_client-{VERSION}.dist-info/licenses/LICENSE")
    assert licence == (ROOT / "LICENSE").read_bytes()
    sources = {path.relative_to(BACKEND).as_posix() for path in CLIENT.rglob("*.py") if "build" not in path.parts}
    assert names == sources | {"reynard_diffusion/py.typed"}


def test_it_asks_a_server_from_a_folder_that_has_an_app_of_its_own(
    environment: Environment, tmp_path: Path, server: Server
) -> None:
    models = [model["model_id"] for model in server.get("/admin/models").json()["models"]]
    text = "".join(words(4, 3))
    assert answered(environment, tmp_path, server) == [[text, text], sorted(models), "invalid_parameters"]


def test_an_editable_installation_does_the_same(tmp_path: Path, server: Server) -> None:
    environment = Environment(tmp_path / "environment")
    environment.lend(["httpx"])
    environment.unpack(built(client_source(tmp_path / "source"), tmp_path / "wheels", "editable"))
    (tmp_path / "folder").mkdir()
    texts, _, _ = answered(environment, tmp_path / "folder", server)
    assert texts == ["".join(words(4, 3))] * 2


def test_programs_of_a_checkout_find_it_where_only_the_requirements_are_installed(
    tmp_path: Path, server: Server
) -> None:
    environment = Environment(tmp_path / "environment")
    environment.lend_everything()
    asking = ("-m", "app.cli", "models", "--url", server.url)
    smoke = ("test_diffusion_api.py", "--help")
    for program, word in ((asking, "dreamon"), (smoke, "--admin-token")):
        done = subprocess.run([environment.python, *program], cwd=BACKEND, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert word in done.stdout


def test_type_checkers_read_it(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    options = ["--strict", "--python-executable", str(environment.python), "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "mypy", *options, "typed.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert 'typed.py:4: note: Revealed type is "int"' in said
    assert "typed.py:5: error:" in said
    assert "Found 1 error in 1 file" in said


def test_client_and_server_are_of_one_version() -> None:
    """The server's wheel requires the client of its own version."""
    (line,) = [line for line in (BACKEND / "requirements-client.txt").read_text().splitlines() if line[:1] != "#"]
    assert (VERSION, line) == (SERVER_VERSION, f"reynard-diffusion-client=={SERVER_VERSION}")


def test_the_requirements_of_the_server_are_enough_for_its_client() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*project["dependencies"]} <= {*(BACKEND / "requirements.txt").read_text(encoding="utf-8").splitlines()}
