from __future__ import annotations

from typing import Any

import pytest

from app.services.diffusion.model_events import CanvasStep, Ended, ModelEvent, Piece, Started
from app.services.diffusion.requests.facts import Facts

END: dict[str, Any] = {"num_tokens": 4, "stop_string": None, "queue_time_s": 1.0, "processing_time_s": 3.0}


def after(*events: ModelEvent, is_of_ids: bool = False) -> Facts:
    facts = Facts("mine", is_of_ids=is_of_ids, model_id="m", device="cuda:0", home_device="cuda:0", seed=7)
    for event in events:
        facts.take(event)
    return facts


def test_a_model_that_reports_nothing_leaves_what_the_service_knows() -> None:
    facts = after(Started(), Piece("a"), CanvasStep({}), Ended())
    known = {"request_id": "mine", "model_id": "m", "device": "cuda:0", "seed": 7, "prompt_tokens": None}
    assert facts.of_start() == known
    assert known.items() <= facts.of_end(**END).items()
    assert (facts.of_end(**END)["finish_reason"], facts.of_end(**END)["truncated_prompt_tokens"]) == ("stop", 0)


def test_the_device_where_it_ended_is_the_device() -> None:
    facts = after(Started(device="cuda:0"), Ended(device="cpu"))
    assert (facts.of_end(**END)["device"], facts.of_end(**END)["moved_from"]) == ("cpu", "cuda:0")
    assert "moved_from" not in after(Started(device="cpu"), Ended(device="cuda:0")).of_end(**END)


def test_the_last_count_of_steps_is_the_count() -> None:
    assert after(Piece("a", num_denoising_steps=2), Ended()).of_end(**END)["denoising_steps"] == 2
    assert after(Piece("a", num_denoising_steps=2), Ended(num_denoising_steps=3)).of_end(**END)["denoising_steps"] == 3


@pytest.mark.parametrize("is_of_ids", [True, False])
def test_the_given_text_is_reported_where_it_was_given_as_ids(is_of_ids: bool) -> None:
    facts = after(Started(prompt_text="def"), is_of_ids=is_of_ids)
    assert ("prompt_text" in facts.of_start()) == ("prompt_text" in facts.of_end(**END)) == is_of_ids


def test_a_stop_string_is_the_reason() -> None:
    assert after(Started(), Ended(num_prompt_tokens=4)).of_end(**END)["prompt_tokens"] == 4
    facts = after(Ended(finish_reason="length"))
    assert facts.of_end(**END)["finish_reason"] == "length"
    assert facts.of_end(**{**END, "stop_string": "x"})["finish_reason"] == "stop"


def test_the_speed_leaves_out_the_time_in_the_queue() -> None:
    assert after().of_end(**END)["tokens_per_second"] == 2.0
