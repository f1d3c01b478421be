"""The wheel of the server: built as pip builds it, and started where nothing else of this project is."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from email import message_from_bytes
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import requests

from app.core.version import VERSION
from tests.api.plugin_models import words
from tests.api.serving import START_TIMEOUT_S, install_plugin
from tests.docs.markdown import ROOT
from tests.ports import free_port
from tests.wheels import BACKEND, LEFT_OUT, Environment, built, client_source

BUILT_FROM = ("LICENSE", "README.md", "pyproject.toml", "requirements.txt", "requirements-client.txt")
PACKAGES = ("app", "reynard_diffusion_server")
ASKED_TOKENS = 4
ASKED = {"text": "Once upon a time", "model_id": "llada", "max_length": ASKED_TOKENS}
CLASHING_APP = "raise ImportError('this is the app of somebody else')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    source = folder / "source"
    source.mkdir()
    for name in BUILT_FROM:
        shutil.copy(BACKEND / name, source)
    for name in (*PACKAGES, "reynard_diffusion"):
        shutil.copytree(BACKEND / name, source / name, ignore=LEFT_OUT)
    return built(source, folder / "wheel", "wheel")


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment of the wheel, the client's and a plug-in, and all else from the tests' own."""
    folder = tmp_path_factory.mktemp("environment")
    environment = Environment(folder / "home")
    environment.unpack(built(client_source(folder / "source"), folder / "wheel", "wheel"))
    environment.install("--no-deps", wheel)
    environment.lend_everything()
    shutil.copytree(install_plugin(folder / "plugin"), environment.packages, dirs_exist_ok=True)
    return environment.python.parent / "reynard-diffusion"


def test_it_has_its_licence_its_description_and_the_one_version(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        about = f"reynard_diffusion-{VERSION}.dist-info"
        metadata = message_from_bytes(archive.read(f"{about}/METADATA"))
        assert archive.read(f"{about}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["Version"], metadata["License-Expression"]) == (VERSION, "Apache-2.0")
    assert "reynard-diffusion serve" in str(metadata.get_payload())
    assert {"app/assets/playground/index.html", "app/assets/models/llada/model.safetensors"} <= {*names}
    assert f"reynard-diffusion-client=={VERSION}" in (metadata.get_all("Requires-Dist") or [])
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, about}
    assert {f"{name}/py.typed" for name in PACKAGES} <= {*names}


def test_it_serves_from_a_folder_that_has_an_app_of_its_own(program: Path, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text(CLASHING_APP)
    port = free_port()
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DIFFUSION_PORT": str(port)}
    with subprocess.Popen([program, "serve"], cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = f"http://127.0.0.1:{port}/api/diffusion/generate"
            answer = first_answer(url, server)
            plugged = requests.post(url, json={**ASKED, "model_id": "words", "seed": 4}, timeout=START_TIMEOUT_S).json()
        finally:
            server.terminate()
    assert answer["metadata"]["tokens_generated"] > 0
    assert plugged["generated_text"] == "".join(words(4, ASKED_TOKENS))


def first_answer(url: str, server: subprocess.Popen[str]) -> dict[str, Any]:
    """Asks until the server listens; it answers once the model is there."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            answered = requests.post(url, json=ASKED, timeout=START_TIMEOUT_S)
        except requests.ConnectionError:
            assert server.poll() is None, server.communicate()[1]
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        else:
            assert answered.status_code == 200, answered.text
            return dict(answered.json())
