"""Ollama's own clients, unmodified, for Python and for Node.

Whoever wants to run these installs the extra `clients`; for Node `npm install ollama`, and NODE_PATH names its
`node_modules`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.api.serving import Server

pytestmark = pytest.mark.filterwarnings("ignore")  # what their packages warn of is theirs to mend

OPTIONS = {"num_predict": 8, "seed": 1}
HELLO = [{"role": "user", "content": "How old is Anne?"}]


class Person(BaseModel):
    """A person."""

    age: int


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Any:
    ollama = pytest.importorskip("ollama", reason="needs the package ollama: extra clients")
    return ollama.Client(host=request.getfixturevalue("server").url)


def test_models_are_what_the_client_expects(client: Any) -> None:
    client.generate("dreamon:latest", "x", options=OPTIONS)  # it is loaded then
    assert {"dreamon:latest", "llada:latest"} <= {model.model for model in client.list().models}
    assert client.show("dreamon").capabilities == ["completion", "insert"]
    (loaded,) = (model for model in client.ps().models if model.model == "dreamon:latest")
    assert loaded.size > 0


def test_streams_are_the_whole_answers(client: Any) -> None:
    whole = client.generate("llada", "It was", options=OPTIONS)
    pieces = list(client.generate("llada", "It was", options=OPTIONS, stream=True))
    assert "".join(piece.response for piece in pieces) == whole.response
    assert pieces[-1].done
    assert (pieces[-1].eval_count, pieces[-1].total_duration > 0) == (whole.eval_count, True)
    turn = client.chat("llada", HELLO, options=OPTIONS, logprobs=True, top_logprobs=2)
    streamed = list(client.chat("llada", HELLO, options=OPTIONS, stream=True))
    assert "".join(piece.message.content for piece in streamed) == turn.message.content
    assert [len(each.top_logprobs) for each in turn.logprobs] == [2] * turn.eval_count


def test_gaps_are_filled_and_formats_obeyed(client: Any) -> None:
    assert client.generate("dreamon", "def f(", suffix="return x\n", options=OPTIONS).done_reason in ("stop", "length")
    answer = client.chat("llada", HELLO, format=Person.model_json_schema(), options={"num_predict": 24})
    Person.model_validate_json(answer.message.content)


def test_refusals_reach_the_caller(client: Any) -> None:
    ollama = pytest.importorskip("ollama")
    calls: list[tuple[Any, int]] = [
        (lambda: client.pull("llada"), 400),
        (lambda: client.embed("llada", "x"), 400),
        (lambda: client.generate("none", "x"), 404),
        (lambda: client.generate("llada", "x", options={"typical_p": 0.1}), 400),
    ]
    for call, status in calls:
        with pytest.raises(ollama.ResponseError) as refused:
            call()
        assert refused.value.status_code == status
        assert not refused.value.error.startswith("{"), "the client has read the error's own words"


def test_text_and_structure_through_other_peoples_clients(server: Server) -> None:
    langchain: Any = pytest.importorskip("langchain_ollama", reason="needs the package langchain-ollama: extra clients")
    model = langchain.ChatOllama(model="llada", base_url=server.url, num_predict=24, validate_model_on_init=True)
    assert isinstance(model.with_structured_output(Person).invoke("How old is Anne?"), Person)
    assert "".join(str(piece.content) for piece in model.stream("How old is Anne?"))


NODE = """
import { Ollama } from "ollama";
const client = new Ollama({ host: process.argv[2] });
const options = { num_predict: 8, seed: 1 };
const names = (await client.list()).models.map((model) => model.name);
const whole = (await client.generate({ model: "llada", prompt: "It was", options })).response;
let streamed = "";
for await (const part of await client.generate({ model: "llada", prompt: "It was", options, stream: true }))
  streamed += part.response;
const refused = await client.pull({ model: "x" }).catch((error) => error.status_code);
console.log(JSON.stringify({ names, whole, streamed, refused }));
"""


def test_the_client_for_node(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    packages = Path(os.environ.get("NODE_PATH", "not there"))
    if shutil.which("node") is None or not (packages / "ollama").is_dir():
        pytest.skip("needs node, and NODE_PATH with the package ollama")
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "ask.mjs").write_text(NODE, encoding="utf-8")
    command = ["node", "ask.mjs", request.getfixturevalue("server").url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers["streamed"] == answers["whole"]
    assert ("llada:latest" in answers["names"], answers["refused"]) == (True, 400)
