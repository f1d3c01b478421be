"""Operations that a model cannot do are listed nowhere, and refused by name on every face."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from app.cli.main import program
from reynard_diffusion import DiffusionClient, InvalidRequest
from tests.api.serving import Json, Server

UNABLE = "flood"
WORD = "x" * 4096
"""The answer of one token, whatever the text."""
REFUSED = f"model '{UNABLE}' cannot infill: it sees no text behind a gap; leave the suffix out, or ask another model: "


def refusal(server: Server, path: str, body: Json) -> tuple[int, Json]:
    answer = server.session.post(server.url + path, json=body)
    content = answer.json()
    return answer.status_code, content.get("error", content)


@pytest.mark.parametrize("path", ["/api/diffusion/infill", "/api/diffusion/infill/stream"])
def test_a_gap_with_text_behind_it_is_refused(server: Server, path: str) -> None:
    used = server.statistics()["model_usage"].get(UNABLE, 0)
    status, problem = refusal(server, path, {"prefix": "a", "suffix": "b", "model_id": UNABLE})
    assert (status, problem["code"]) == (422, "unsupported_operation")
    assert problem["detail"].startswith(REFUSED)
    assert {"dreamon", "words"} <= set(problem["detail"].removeprefix(REFUSED).split(", "))
    assert [error["field"] for error in problem["errors"]] == ["suffix"]
    assert server.statistics()["model_usage"].get(UNABLE, 0) == used


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a", "suffix": "b"}),
        ("/v1/completions", {"prompt": ["a", "c"], "suffix": "b", "n": 2, "stream": True}),
        ("/v1/fim/completions", {"prompt": "a", "suffix": "b"}),
        ("/v1/fim/completions", {"prompt": "a", "suffix": "b", "stream": True}),
        ("/infill", {"input_prefix": "a", "input_suffix": "b"}),
        ("/infill", {"input_prefix": "a", "input_suffix": "b", "stream": True, "n_cmpl": 2}),
    ],
)
def test_so_it_is_in_the_words_of_other_apis(server: Server, path: str, body: dict[str, Any]) -> None:
    status, error = refusal(server, path, {**body, "model": UNABLE})
    param = "input_suffix" if "input_suffix" in body else "suffix"
    assert (status, error["code"], error["param"]) == (400, "unsupported_operation", param)
    assert error["message"].startswith(REFUSED)


def test_so_it_is_by_the_client_and_on_the_command_line(server: Server) -> None:
    with DiffusionClient(server.url) as client, pytest.raises(InvalidRequest) as caught:
        client.infill("a", "b", model_id=UNABLE)
    assert (caught.value.status, caught.value.code) == (422, "unsupported_operation")
    done = CliRunner().invoke(program, ["infill", "a<FILL>b", "--model", UNABLE, "--url", server.url])
    assert done.exit_code != 0
    assert REFUSED in done.output


def test_a_gap_with_nothing_behind_it_is_continued(server: Server) -> None:
    own = {"prefix": "a", "model_id": UNABLE, "max_length": 1}
    assert server.answer("/infill", own)["infilled_text"] == WORD
    events = server.events("/infill/stream", {**own, "suffix": ""})
    assert "".join(event["data"] for event in events if event["type"] == "token") == WORD
    asked = {"model": UNABLE, "prompt": "a", "suffix": "", "max_tokens": 1}
    for path in ("/v1/completions", "/v1/fim/completions"):
        answer = server.session.post(server.url + path, json=asked).json()
        assert answer["choices"][0]["text"] == WORD
    gap = {"model": UNABLE, "input_prefix": "a", "input_suffix": "", "n_predict": 1}
    assert server.session.post(server.url + "/infill", json=gap).json()["content"] == WORD


def test_every_list_of_models_says_what_they_can(server: Server) -> None:
    able, unable = ["generate", "infill", "chat"], ["generate", "chat"]
    listed = {model["model_id"]: model["capabilities"] for model in server.get("/models").json()["models"]}
    assert (listed["words"], listed[UNABLE]) == (able, unable)
    models = server.session.get(server.url + "/v1/models").json()["data"]
    assert {model["id"]: model["capabilities"] for model in models} == listed
    with DiffusionClient(server.url) as client:
        assert {model.model_id: model.capabilities for model in client.models()} == listed
    table = CliRunner().invoke(program, ["models", "--url", server.url]).output.splitlines()
    assert "CAN" in table[0]
    (row,) = (line for line in table if line.startswith(f"{UNABLE} "))
    assert "  generate, chat" in row
    doctor = CliRunner().invoke(program, ["doctor", "--url", server.url]).output
    assert f"{UNABLE} (generate, chat)" in doctor
