"""The cost of a new wire face: the toy in `toy_face/` over HTTP, and the files that it touches."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import app
from app.api.face import Face, Faces
from app.api.registry import FACES
from app.core.settings import Settings
from app.server import create_app
from tests.api.document import openapi_document
from tests.extensions.toy_face.face import FACE
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import serving

SOURCE = Path(app.__file__).parent
FOLDERS = ("diffusion", "openai", "decisions", "llama_cpp", "ollama")
FILES = ("health.py", "playground.py", "observation/metrics.py")
"""The files that each declare a face."""
OF_A_COLLECTOR = "/v1/traces"


@asynccontextmanager
async def toy_client(*, rate_limit: str = "", **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has the toy beside its own faces."""
    async with serving(WordsModel(), rate_limit=rate_limit) as service:
        application = create_app(Settings.model_validate(settings), service, faces=(*FACES, FACE))
        transport = httpx.ASGITransport(application, client=("127.0.0.1", 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


# -- behaviour ---------------------------------------------------------------------------------------------------------


async def test_it_streams_in_a_framing_of_its_own() -> None:
    async with toy_client() as client:
        answer = await client.post("/toy/say", json={"say": "hello"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == [{"piece": "one"}, {"piece": " two"}, {"piece": " three"}, {"done": True}]


def error_of(answer: httpx.Response) -> str:
    """The code that a toy error begins with; it has nothing but its one member."""
    assert answer.headers["content-type"] == "application/json"
    (name, message), *others = answer.json().items()
    assert (name, others) == ("error", [])
    return str(message).partition(":")[0]


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("GET", "/toy/no-such", {}, 404, "not_found"),
        ("GET", "/toy/say", {}, 405, "method_not_allowed"),
        ("POST", "/toy/say", {"content": b"{"}, 400, "malformed_body"),
        ("POST", "/toy/say", {"json": {"no_such": 1}}, 422, "invalid_parameters"),
        ("POST", "/toy/say", {"json": {"say": "x" * 2000}}, 413, "body_too_large"),
        ("POST", "/toy/say", {"content": b"x"}, 415, "unsupported_media_type"),
    ],
)
async def test_every_refusal_has_the_form_of_the_called_face(
    method: str, path: str, sent: dict[str, Any], status: int, code: str
) -> None:
    headers = {} if code == "unsupported_media_type" else {"Content-Type": "application/json"}
    async with toy_client(max_body_bytes=1024) as client:
        answer = await client.request(method, path, headers=headers, **sent)
    assert (answer.status_code, error_of(answer)) == (status, code)


async def test_a_call_without_its_key_is_refused_in_its_language() -> None:
    async with toy_client(api_keys="a-key") as client:
        answer = await client.post("/toy/names")
        assert (answer.status_code, error_of(answer)) == (401, "api_key_required")


async def test_a_rate_limit_counts_only_calls_that_generate() -> None:
    async with toy_client(rate_limit="1/hour") as client:
        reads = [await client.post("/toy/names") for _ in range(3)]
        says = [await client.post("/toy/say", json={"say": "x"}) for _ in range(2)]
    assert [answer.status_code for answer in reads] == [200] * 3
    assert not any("ratelimit-limit" in answer.headers for answer in reads)
    assert [answer.status_code for answer in says] == [200, 429]
    assert error_of(says[1]) == "rate_limited"
    assert int(says[1].headers["retry-after"]) > 0


async def test_its_calls_and_refusals_are_counted() -> None:
    async with toy_client() as client:
        await client.post("/toy/say", json={"say": "x"})
        await client.post("/toy/say", json={"no_such": 1})
        metrics = (await client.get("/metrics")).text
    assert 'reynard_http_responses_total{route="/toy/say",status="2xx"} 1.0' in metrics
    assert 'reynard_http_responses_total{route="/toy/say",status="4xx"} 1.0' in metrics
    assert 'reynard_refused_requests_total{code="invalid_parameters"} 1.0' in metrics


async def test_the_openapi_document_describes_it() -> None:
    async with toy_client() as client:
        document = (await client.get("/openapi.json")).json()
    say = document["paths"]["/toy/say"]["post"]
    assert say["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ToyRequest")
    for status in ("400", "401", "408", "413", "422", "429", "503"):  # those of middleware among them
        (media_type, content), *_ = say["responses"][status]["content"].items()
        assert (media_type, content["schema"]["$ref"]) == ("application/json", "#/components/schemas/ToyError")
    assert {"ToyRequest", "ToyError", "Problem", "OpenAIProblem"} <= document["components"]["schemas"].keys()


async def test_it_changes_nothing_for_the_other_faces() -> None:
    async with toy_client() as client:
        ours, openai = await client.get("/api/diffusion/no-such"), await client.get("/v1/no-such")
    assert ours.headers["content-type"] == "application/problem+json"
    assert openai.json()["error"]["code"] == "not_found"


# -- what it touches ---------------------------------------------------------------------------------------------------


def importers_of(folder: str) -> list[str]:
    """The files of the program outside of a face's folder that import from it."""
    statement = re.compile(rf"^\s*(from|import) app\.api(\.{folder}\b| import .*\b{folder}\b)", re.MULTILINE)
    files = [file for file in SOURCE.rglob("*.py") if file.parent != SOURCE / "api" / folder]
    return [file.relative_to(SOURCE).as_posix() for file in files if statement.search(file.read_text("utf-8"))]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_face_is_its_folder_and_a_line_in_the_registry(folder: str) -> None:
    assert importers_of(folder) == ["api/registry.py"]


def test_the_toy_is_one_file() -> None:
    files = [file.name for file in (Path(__file__).parent / "toy_face").glob("*.py")]
    assert sorted(files) == ["__init__.py", "face.py"]


def strings_in(file: Path) -> list[str]:
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_code_that_sees_every_request_names_no_path_of_a_face() -> None:
    homes = {SOURCE / "api" / name for name in (*FOLDERS, *FILES)}
    files = [file for file in (SOURCE / "api").rglob("*.py") if not homes & {file, file.parent}]
    declared = [call.rpartition(" ")[2].removesuffix("*") for face in FACES for call in face.kinds]
    paths = tuple(path for path in declared if len(path) > 1)
    for file in [*files, SOURCE / "server.py"]:
        assert not [text for text in strings_in(file) if text.startswith(paths) and text != OF_A_COLLECTOR], file


# -- declarations ------------------------------------------------------------------------------------------------------


def test_every_call_of_every_face_is_declared() -> None:
    faces = Faces(FACES)
    for path, operations in openapi_document()["paths"].items():
        for method in operations:
            declared = faces.at(path)
            assert {method.upper(), ""} & declared.kinds.keys(), (method, path)
            assert declared.face in FACES


def test_a_path_has_one_face() -> None:
    double = Face(name="double", router=FACE.router, kinds={"GET /toy/say": FACE.kinds["POST /toy/names"]})
    with pytest.raises(ValueError, match=r"^/toy/say is declared by two faces: toy and double$"):
        Faces([FACE, double])
