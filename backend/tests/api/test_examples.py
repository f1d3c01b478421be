"""The examples of the documentation, as they stand but for the port."""

# ruff: noqa: E501  (the examples are copied, not formatted)

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from pathlib import Path

import pytest

from tests.api.forked import run_forked
from tests.api.serving import CHECKPOINTS, Server, environment

GENERATE = """
import requests
response = requests.post("http://localhost:8000/api/diffusion/generate", json={"text": "Once upon a time, in a magical forest",
    "model_id": "dreamon", "max_length": 256, "temperature": 0.8, "top_p": 0.9})
result = response.json()
if result["success"]: print(result["generated_text"], f"{result['processing_time']:.2f}s")
"""

GENERATE_STREAM = """
import json, requests
response = requests.post("http://localhost:8000/api/diffusion/generate/stream", json={"text": "The future of artificial intelligence",
    "model_id": "dreamon", "max_length": 512, "stream": True}, stream=True)
for line in response.iter_lines():
    if line:
        event = json.loads(line.decode('utf-8'))
        if event["type"] == "token": print(event["data"], end="", flush=True)
        elif event["type"] == "complete": print("\\n\\nGeneration completed")
"""

INFILL = """
import requests
response = requests.post("http://localhost:8000/api/diffusion/infill", json={"prefix": "The quick brown fox",
    "suffix": "over the lazy dog.", "model_id": "llada", "max_length": 128, "temperature": 0.7})
result = response.json()
if result["success"]: print(result["infilled_text"], f"{result['processing_time']:.2f}s")
"""

INFILL_STREAM = """
import json, requests
response = requests.post("http://localhost:8000/api/diffusion/infill/stream", json={"prefix": "The quick brown fox",
    "suffix": "over the lazy dog.", "model_id": "llada", "max_length": 128, "temperature": 0.7}, stream=True)
for line in response.iter_lines():
    if line:
        event = json.loads(line.decode('utf-8'))
        if event["type"] == "token": print(event["data"], end="", flush=True)
        elif event["type"] == "complete": print("\\n\\nInfilling completed")
"""

CURL = ["/admin/stats", "/admin/health", "/admin/models"]


def run(server: Server, example: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example.replace("http://localhost:8000", server.url), {})
    return printed.getvalue()


@pytest.mark.parametrize("example", [GENERATE, INFILL], ids=["generate", "infill"])
def test_plain_example(server: Server, example: str) -> None:
    assert run(server, example).endswith("s\n")


@pytest.mark.parametrize("example", [GENERATE_STREAM, INFILL_STREAM], ids=["generate", "infill"])
def test_streaming_example(server: Server, example: str) -> None:
    assert run(server, example).endswith("completed\n")


@pytest.mark.parametrize("path", CURL)
def test_curl_reads(server: Server, path: str) -> None:
    command = ["curl", "--silent", "--fail", f"{server.url}/api/diffusion{path}"]
    json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


def test_curl_reloads(server: Server) -> None:
    command = ["curl", "-sf", "-X", "POST", f"{server.url}/api/diffusion/admin/models/dreamon/reload"]
    assert json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)["success"]


def test_smoke_test_of_a_running_server(server: Server, tmp_path: Path) -> None:
    variables = {**environment(), "DIFFUSION_URL": server.url}
    done = run_forked("test_diffusion_api", folder=tmp_path, variables=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "using the server" in done.stdout
    assert "FAIL" not in done.stdout


def test_smoke_test_without_a_server_says_so(tmp_path: Path) -> None:
    variables = {**environment(), "DIFFUSION_URL": "http://127.0.0.1:9"}
    done = run_forked("test_diffusion_api", folder=tmp_path, variables=variables)
    assert done.returncode == 1
    assert "no server answers" in done.stderr


PYTHON = """
import warnings
warnings.simplefilter("error")

import asyncio
from app.services.diffusion import DiffusionLLMService

async def main():
    service = DiffusionLLMService()
    await service.initialize({'diffusion': {'enabled': True, 'max_length': 8}})
    result = await service.generate_stream('Test generation')
    print(result)
    async for event in service.generate_stream('Test generation'):
        print(event.type)
    await service.close()

asyncio.run(main())
"""


def test_python_entry_points_need_no_server(tmp_path: Path) -> None:
    paths = {f"{model_id}_path": str(CHECKPOINTS / f"{model_id}-tiny") for model_id in ("dreamon", "llada")}
    example = PYTHON.replace("'max_length': 8", f"'max_length': 8, **{paths}")
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    variables = environment() | {"PYTHONPATH": str(tmp_path)}
    done = run_forked("example", folder=tmp_path, variables=variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("complete\n")
