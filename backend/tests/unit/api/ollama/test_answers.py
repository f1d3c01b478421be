from __future__ import annotations

import json
from typing import Any

import pytest

from app.api.ollama.answers import Form, OllamaAnswer, as_message, as_response
from app.api.ollama.models import listed, loaded
from app.api.ollama.stream import Lines
from app.services.diffusion import DiffusionStreamEvent
from app.services.diffusion.metadata import answer_metadata
from app.services.diffusion.reports import DiffusionModelDetails

COMPLETE: dict[str, Any] = {
    "model_id": "m", "prompt_tokens": 7, "truncated_prompt_tokens": 3, "tokens_generated": 2, "finish_reason": "stop",
    "seed": 9, "processing_time": 1.5, "queue_time": 0.5,
}  # fmt: skip
NOTED = {
    "token": "a",
    "logprob": -1.0,
    "bytes": [97],
    "offset": 0,
    "top": [{"token": "b", "logprob": -2.0, "bytes": [98]}],
}


def event(kind: Any, data: Any = None, **metadata: Any) -> DiffusionStreamEvent:
    return DiffusionStreamEvent(type=kind, data=data, metadata=metadata)


def written(lines: Lines, *events: DiffusionStreamEvent) -> list[dict[str, Any]]:
    return [json.loads(piece) for each in events if (piece := lines.write(0, each))]


@pytest.mark.parametrize(("worded", "path"), [(as_response, ("response",)), (as_message, ("message", "content"))])
def test_lines_add_up_to_the_whole_answer(worded: Any, path: tuple[str, ...]) -> None:
    form = Form("m:latest", worded, num_cut_characters=4)
    start, pieces = event("start", model_id="m"), [event("token", "a"), event("token", "b")]
    *lines, last = written(Lines(form, "m"), start, *pieces, event("step", {}), event("complete", **COMPLETE))
    whole = form.end(answer_metadata(COMPLETE), "ab")

    def text(line: dict[str, Any]) -> Any:
        return line[path[0]] if len(path) == 1 else line[path[0]][path[1]]

    assert ("".join(map(text, lines)), text(last), text(whole)) == ("ab", "", "ab")
    assert [line["done"] for line in (*lines, last)] == [False, False, True]
    assert last.keys() == whole.keys()
    assert all(line["model"] == "m:latest" for line in (*lines, last))
    for line in (*lines, last, whole):
        OllamaAnswer.model_validate(line)


def test_durations_add_up_and_counts_are_of_what_the_model_saw() -> None:
    end = Form(None, as_response, num_cut_characters=4).end(answer_metadata(COMPLETE))
    names = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    assert [end[name] for name in names] == [1_500_000_000, 500_000_000, 0, 1_000_000_000]
    assert (end["prompt_eval_count"], end["eval_count"], end["truncated_prompt_tokens"]) == (4, 2, 3)
    assert (end["truncated_prompt_characters"], end["seed"], end["done_reason"]) == (4, 9, "stop")


def test_another_model_answers_by_its_own_name() -> None:
    lines = Lines(Form("x:latest", as_response), "x")
    assert json.loads(lines.keep_alive)["model"] == "x:latest"
    (line,) = written(lines, event("start", model_id="m"), event("token", "a"))
    assert line["model"] == "m"


def test_the_sign_of_life_is_a_line_without_text() -> None:
    sign = Lines(Form("m", as_message), "m").keep_alive
    assert sign.endswith(b"\n")
    assert (json.loads(sign)["message"]["content"], json.loads(sign)["done"]) == ("", False)


def test_logprobs_stand_beside_their_piece() -> None:
    lines = Lines(Form("m", as_response), "m")
    (line,) = written(lines, event("token", "a", logprobs=[NOTED]))
    alternative = {"token": "b", "logprob": -2.0, "bytes": [98]}
    assert line["logprobs"] == [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [alternative]}]
    whole = Form("m", as_response).end(answer_metadata({**COMPLETE, "logprobs": [NOTED]}), "a")
    assert whole["logprobs"] == line["logprobs"]


def test_an_error_is_a_line() -> None:
    lines = Lines(Form("m", as_response), "m")
    assert written(lines, event("error", "too late", code="timeout")) == [{"error": "too late", "code": "timeout"}]


def details(**given: Any) -> DiffusionModelDetails:
    base = {"name": "", "description": "", "max_length": 8, "is_available": True, "algorithms": [], "parameters": {}}
    return DiffusionModelDetails(
        **{**base, "model_id": "m", "device": "cpu", "memory_usage": 1.5, "capabilities": [], **given}
    )


def test_a_model_is_listed_with_its_tag_and_bytes() -> None:
    model = listed(details())
    assert (model.name, model.model, model.size) == ("m:latest", "m:latest", 1_500_000)
    assert listed(details(model_id="m:8b")).name == "m:8b"
    assert len(model.digest) == 64
    assert model.digest != listed(details(model_id="n")).digest


@pytest.mark.parametrize(("device", "size"), [("cpu", 0), ("cuda:0", 1_500_000)])
def test_a_loaded_model_has_its_bytes_where_they_are(device: str, size: int) -> None:
    model = loaded(details(device=device, context_length=512, quantization="int8", dtype="float32"))
    assert (model.size_vram, model.context_length, model.details.quantization_level) == (size, 512, "int8")
