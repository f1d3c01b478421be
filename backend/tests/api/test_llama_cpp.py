"""The recorded requests of editors' plug-ins, and the fields that they read of the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from tests.api.plugin_models import words
from tests.api.serving import ANSWER_TIMEOUT_S, Json, Server

RECORDED: dict[str, Json] = json.loads((Path(__file__).parent / "editor_requests.json").read_text(encoding="utf-8"))


def ask(server: Server, body: Json, path: str = "/infill") -> requests.Response:
    return server.session.post(server.url + path, json=body, timeout=ANSWER_TIMEOUT_S)


def replay(server: Server, name: str, **changes: object) -> requests.Response:
    recorded = RECORDED[name]
    response = ask(server, {**recorded["body"], **changes}, recorded["path"])
    assert response.status_code == 200, response.text
    return response


def data_of(response: requests.Response) -> list[str]:
    return [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]


def test_llama_vim_gets_the_fields_that_it_names(server: Server) -> None:
    answer = replay(server, "llama.vim", n_predict=8).json()
    assert set(answer) == set(RECORDED["llama.vim"]["body"]["response_fields"])
    assert isinstance(answer["content"], str)
    assert answer["timings/prompt_n"] > 0
    assert 0 < answer["timings/predicted_n"] <= 8


def test_llama_vscode_gets_a_list(server: Server) -> None:
    answers = replay(server, "llama.vscode", n_predict=8).json()
    assert [answer["index"] for answer in answers] == [0, 1, 2]
    for answer in answers:
        assert answer["stop"] is True
        assert answer["generation_settings"]["n_ctx"] == 2048
        assert answer["timings"]["predicted_ms"] > 0


@pytest.mark.parametrize("name", ["llama.vim, warming up", "llama.vscode, warming up"])
def test_warming_up_asks_no_model(server: Server, name: str) -> None:
    before = server.wait_until_idle()
    answer = replay(server, name).json()
    assert answer == {} or answer["content"] == ""
    assert server.statistics()["total_requests"] == before["total_requests"]


def test_llama_vim_is_answered_to_an_instruction(server: Server) -> None:
    *chunks, end = data_of(replay(server, "llama.vim, an instruction", max_tokens=4))
    assert end == "[DONE]"
    assert all("content" in json.loads(chunk)["choices"][0]["delta"] for chunk in chunks[1:-1])


def test_continue_reads_a_delta_in_every_chunk(server: Server) -> None:
    *chunks, end = data_of(replay(server, "Continue"))
    assert end == "[DONE]"
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert all(choice["delta"]["content"] == choice["text"] for choice in choices)


def test_a_stream_ends_with_stop_and_holds_the_same_text(server: Server) -> None:
    body: Json = {"input_prefix": "a", "model": "words", "n_predict": 5, "seed": 3}
    *pieces, last = map(json.loads, data_of(ask(server, {**body, "stream": True})))
    text = "".join(words(3, 5))
    assert "".join(piece["content"] for piece in pieces) == text == ask(server, body).json()["content"]
    assert not any(piece["stop"] for piece in pieces)
    assert (last["stop"], last["content"], last["tokens_predicted"]) == (True, "", 5)


def test_it_equals_the_native_infilling(server: Server) -> None:
    native = {"prefix": "x\n\nif x:", "suffix": "return", "model_id": "dreamon", "max_length": 8, "seed": 4}
    body: Json = {"input_extra": [{"text": "x"}], "input_prefix": "if ", "prompt": "x:", "input_suffix": "return"}
    answer = ask(server, {**body, "n_predict": 8, "seed": 4, "model": "dreamon"}).json()
    assert answer["content"] == server.answer("/infill", native)["infilled_text"]


def test_a_line_in_time_is_enough(server: Server) -> None:
    before = server.wait_until_idle()
    body: Json = {"input_prefix": "a", "model": "lines", "t_max_predict_ms": 50}
    answer = ask(server, body).json()
    assert answer["content"].startswith("line\nline\n")
    assert answer["stop_type"] == "limit"
    after = server.wait_until_idle()
    assert after["successful_requests"] == before["successful_requests"] + 1
    assert after["cancelled_requests"] == before["cancelled_requests"]


def test_one_that_was_cut_off_in_time_tells_its_tokens(server: Server) -> None:
    body: Json = {"input_prefix": "a", "model": "lines", "t_max_predict_ms": 20}
    whole = ask(server, body).json()
    last = json.loads(data_of(ask(server, {**body, "stream": True}))[-1])
    for answer in (whole, last):
        assert (answer["tokens_evaluated"], answer["truncated"]) == (5, True)
        assert answer["tokens_predicted"] == answer["timings"]["predicted_n"]
    assert whole["tokens_predicted"] >= 2 * whole["content"].count("\n")


def test_errors_are_read_where_llama_cpp_has_them(server: Server) -> None:
    for body, status in (({"input_prefix": 5}, 400), ({"input_prefix": "a", "model": "x"}, 404)):
        response = ask(server, body)
        assert response.status_code == status
        assert response.json()["error"]["message"]
    with server.configured(timeout_seconds=0.2):
        response = ask(server, {"input_prefix": "a", "model": "endless"})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
    assert response.headers["X-Should-Retry"] == "false"


def test_unknown_fields_are_ignored_and_logged_once(server: Server) -> None:
    body: Json = {
        "input_prefix": "a",
        "model": "words",
        "n_predict": 2,
        "seed": -1,
        "stop": [str(n) for n in range(17)],
    }
    for _ in range(2):
        assert ask(server, {**body, "some_new_field": 1, "typical_p": 1, "n_cmpl": 2}).status_code == 200
    assert server.log.count("passes over the field 'some_new_field'") == 1
    assert "the field 'typical_p'" not in server.log
    with server.configured(max_concurrent_requests=1, max_queued_requests=0):
        assert ask(server, {**body, "n_cmpl": 8}).json()["content"]


def test_probes(server: Server) -> None:
    assert server.session.get(f"{server.url}/health").json() == {"status": "ok"}
    props = server.session.get(f"{server.url}/props?model=llada&autoload=false").json()
    assert (props["default_generation_settings"]["n_ctx"], props["model_alias"]) == (4096, "llada")
    assert props["total_slots"] == server.get("/config").json()["max_concurrent_requests"]
    assert server.session.get(f"{server.url}/props?model=no-such").json()["error"]["code"] == "model_not_found"
    with server.configured(enabled=False):
        assert server.session.get(f"{server.url}/health").status_code == 503
