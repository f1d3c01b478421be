"""Ollama's API over HTTP."""

from __future__ import annotations

import json

import pytest
import requests

from tests.api.plugin_models import words
from tests.api.serving import ANSWER_TIMEOUT_S, Json, Server
from tests.api.test_silence import occupied

WORDS: Json = {"model": "words", "prompt": "x", "options": {"num_predict": 5, "seed": 3}}


def ask(server: Server, path: str, body: Json, method: str = "POST") -> requests.Response:
    return server.session.request(method, f"{server.url}/api/{path}", json=body, timeout=ANSWER_TIMEOUT_S)


def answer(server: Server, path: str, body: Json) -> Json:
    response = ask(server, path, {"stream": False, **body})
    assert response.status_code == 200, response.text
    whole: Json = response.json()
    return whole


def lines(response: requests.Response) -> list[Json]:
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.content.split(b"\n")[:-1]]


def error(response: requests.Response) -> tuple[int, str]:
    told = response.json()
    assert set(told) == {"error", "code"}
    return response.status_code, told["error"]


def test_a_stream_is_the_default_and_has_the_same_text(server: Server) -> None:
    *pieces, last = lines(ask(server, "generate", WORDS))
    text = "".join(words(3, 5))
    assert "".join(piece["response"] for piece in pieces) == text == answer(server, "generate", WORDS)["response"]
    assert [line["done"] for line in (*pieces, last)] == [False] * len(pieces) + [True]
    assert (last["response"], last["eval_count"]) == ("", 5)
    assert last["total_duration"] == last["load_duration"] + last["eval_duration"]


def test_a_stream_adds_to_what_it_has_sent(server: Server) -> None:
    body: Json = {"model": "llada:latest", "messages": [{"role": "user", "content": "Hi"}]}
    body["options"] = {"num_predict": 8, "seed": 2, "temperature": 1.5, "steps": 4}
    *pieces, last = lines(ask(server, "chat", body))
    whole = answer(server, "chat", body)
    assert "".join(piece["message"]["content"] for piece in pieces) == whole["message"]["content"]
    assert whole["message"]["role"] == "assistant"
    assert (last["model"], whole["model"], whole["eval_count"]) == ("llada:latest", "llada:latest", last["eval_count"])


def test_answers_are_those_of_the_native_face(server: Server) -> None:
    common: Json = {"max_length": 8, "seed": 4}
    options: Json = {"options": {"num_predict": 8, "seed": 4}}
    gap = server.answer("/infill", {"prefix": "if x:", "suffix": "return", "model_id": "dreamon", **common})
    text = server.answer("/generate", {"text": "Be brief.\n\nif x:", "model_id": "dreamon", **common})
    raw = server.answer("/generate", {"text": "if x:", "model_id": "llada", **common})
    asked: Json = {"prompt": "if x:", **options}
    assert (
        answer(server, "generate", {**asked, "model": "dreamon", "suffix": "return"})["response"]
        == gap["infilled_text"]
    )
    untemplated = answer(server, "generate", {**asked, "model": "dreamon", "system": "Be brief."})
    assert untemplated["response"] == text["generated_text"], "the checkpoint has no chat template"
    assert answer(server, "generate", {**asked, "model": "llada", "raw": True})["response"] == raw["generated_text"]


def test_a_prompt_is_a_turn_where_there_is_a_chat_template(server: Server) -> None:
    options: Json = {"model": "llada", "options": {"num_predict": 8, "seed": 4}}
    turn = answer(server, "chat", {**options, "messages": [{"role": "user", "content": "if x:"}]})
    prompt = answer(server, "generate", {**options, "prompt": "if x:"})
    assert prompt["response"] == turn["message"]["content"]
    assert prompt["prompt_eval_count"] == turn["prompt_eval_count"]


def test_a_format_is_obeyed_in_both_ways(server: Server) -> None:
    schema: Json = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    schema["additionalProperties"] = False
    body: Json = {"model": "llada", "prompt": "How old?", "format": schema, "options": {"num_predict": 24, "seed": 1}}
    *pieces, last = lines(ask(server, "generate", body))
    text = "".join(piece["response"] for piece in pieces)
    assert text == answer(server, "generate", body)["response"]
    assert isinstance(json.loads(text)["age"], int)
    assert last["done_reason"] == "stop"
    assert isinstance(json.loads(answer(server, "generate", {**body, "format": "json"})["response"]), dict)


def test_a_special_token_alone_is_no_suffix(server: Server) -> None:
    body: Json = {"model": "dreamon", "prompt": "if x:", "options": {"num_predict": 4, "seed": 1}}
    marked = answer(server, "generate", {**body, "suffix": "<|endoftext|>"})
    assert marked["response"] == answer(server, "generate", body)["response"]


def test_a_request_without_a_text_asks_no_model(server: Server) -> None:
    before = server.wait_until_idle()
    for path, field, reason in (("generate", {"keep_alive": 0}, "unload"), ("chat", {"messages": []}, "load")):
        whole = ask(server, path, {"model": "llada", **field}).json()
        assert (whole["done"], whole["done_reason"]) == (True, reason)
    assert server.statistics()["total_requests"] == before["total_requests"]


def test_the_command_line_gets_what_its_commands_ask_for(server: Server) -> None:
    """The requests of `list`, `ps`, `show`, `run` and `stop`, written as Go writes them."""
    asked: Json = {"model": "", "system": "", "template": "", "options": None}
    assert server.session.head(f"{server.url}/").status_code == 200
    for path in ("tags", "ps"):
        listed = server.session.get(f"{server.url}/api/{path}").json()["models"]
        assert {"llada:latest"} <= {model["name"] for model in listed}
        assert all(len(model["digest"]) > 12 for model in listed)
    shown = ask(server, "show", {**asked, "verbose": False, "name": "llada"}).json()
    arch = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{arch}.context_length"] == 4096
    assert "completion" in shown["capabilities"]
    loading = {**asked, "model": "llada", "prompt": "", "suffix": ""}
    for keep_alive, reason in (({}, "load"), ({"keep_alive": "0s"}, "unload")):
        (line,) = ask(server, "generate", {**loading, **keep_alive}).text.splitlines()
        assert json.loads(line)["done_reason"] == reason
    *_, last = lines(ask(server, "generate", {**loading, "prompt": "if x:", "options": {"num_predict": 2}}))
    assert last["done"]
    messages = [{"role": "user", "content": "Hi"}]
    *_, last = lines(ask(server, "chat", {"model": "llada", "messages": messages, "options": {"num_predict": 2.0}}))
    assert last["done"]
    assert ask(server, "show", {**asked, "verbose": False, "name": "none"}).status_code == 404


def test_a_stream_that_waits_sends_lines_without_text(server: Server) -> None:
    with occupied(server) as holder:
        response = requests.post(f"{server.url}/api/generate", json=WORDS, stream=True, timeout=ANSWER_TIMEOUT_S)
        arriving = response.iter_lines()
        waiting = [json.loads(next(arriving)) for _ in range(2)]
        holder.close()
        rest = [json.loads(line) for line in arriving]
    assert all((line["response"], line["done"]) == ("", False) for line in waiting)
    assert "".join(line["response"] for line in rest) == "".join(words(3, 5))
    assert rest[-1]["done"]


def test_an_error_is_a_status_or_the_last_line(server: Server) -> None:
    with server.configured(timeout_seconds=0.2):
        assert error(ask(server, "generate", {**WORDS, "model": "endless", "stream": False}))[0] == 504
        *_, last = lines(ask(server, "generate", {**WORDS, "model": "endless"}))
    assert last["code"] == "timeout"
    assert last["error"].startswith("no complete answer within")


def test_refusals_name_the_field_as_the_client_knows_it(server: Server) -> None:
    cases: list[tuple[Json, int, str]] = [
        ({"model": "nope"}, 404, "model 'nope' not found; known models: "),
        ({"model": "nope:latest"}, 404, "model 'nope:latest' not found; known models: "),
        ({"model_id": "llada"}, 400, "model_id is not supported; leave it out"),
        ({"options": {"typical_p": 0.1}}, 400, "options.typical_p=0.1 is not supported"),
        ({"temperature": 1.0}, 400, "temperature is not read here; put it into options"),
        ({"model": "llada", "options": {"initial_masks": 4}}, 400, "options.initial_masks"),
        ({"think": True}, 400, "think: model 'words' has no chat template"),
        ({"format": {"type": "no-such"}, "model": "llada"}, 400, "format"),
        ({"suffix": "y", "model": "silent"}, 400, "model 'silent' cannot infill"),
    ]
    for fields, status, message in cases:
        refused, said = error(ask(server, "generate", {**WORDS, **fields}))
        assert (refused, said[: len(message)]) == (status, message)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        *(("POST", name, 400, f"{name} is not supported: ") for name in ("pull", "push", "create", "copy")),
        *(("POST", name, 400, f"{name} is not supported: these models write") for name in ("embed", "embeddings")),
        ("DELETE", "delete", 400, "delete is not supported: "),
        ("POST", "blobs/sha256:0", 400, "blobs is not supported: "),
        ("POST", "no-such", 404, "there is no /api/no-such here; /openapi.json lists"),
        ("GET", "generate", 405, "Method Not Allowed"),
    ],
)
def test_what_there_is_not_is_refused_by_name(
    server: Server, method: str, path: str, status: int, message: str
) -> None:
    refused, said = error(ask(server, path, {"model": "llada"}, method))
    assert (refused, said[: len(message)]) == (status, message)


def test_models_are_listed_and_shown(server: Server) -> None:
    names = {model["name"] for model in ask(server, "tags", {}, "GET").json()["models"]}
    answer(server, "generate", {"model": "dreamon", "prompt": "x", "options": {"num_predict": 1}})  # it is loaded then
    in_memory = {model["name"] for model in ask(server, "ps", {}, "GET").json()["models"]}
    assert {"dreamon:latest"} <= in_memory < names
    for body in ({"model": "dreamon"}, {"name": "dreamon:latest"}):
        shown = ask(server, "show", body).json()
        assert shown["capabilities"] == ["completion", "insert"]
        assert ".Suffix" in shown["template"]
        assert shown["model_info"]["diffusion.context_length"] == 2048
    assert error(ask(server, "show", {"model": "nope"}))[0] == 404
    assert ask(server, "version", {}, "HEAD").status_code == 200


def test_the_body_need_not_be_declared_but_by_a_browser(server: Server) -> None:
    url, body = f"{server.url}/api/generate", json.dumps({**WORDS, "stream": False})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    plain = requests.post(url, data=body, headers=form, timeout=ANSWER_TIMEOUT_S)
    assert plain.json()["response"] == "".join(words(3, 5))
    of_a_page = requests.post(url, data=body, headers={**form, "Origin": "http://elsewhere"}, timeout=ANSWER_TIMEOUT_S)
    assert error(of_a_page) == (400, "send the body as 'Content-Type: application/json'")


def test_other_fields_are_passed_over_and_logged_once(server: Server) -> None:
    for _ in range(2):
        assert answer(server, "generate", {**WORDS, "runner": "mlx"})["done"]
    assert server.log.count("Ollama's API passes over the field 'runner'") == 1
