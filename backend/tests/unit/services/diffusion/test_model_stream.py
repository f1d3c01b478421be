from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.services.diffusion import DiffusionGenerationParams, GenerationFailed
from app.services.diffusion.base import DiffusionModel, StreamItem
from app.services.diffusion.model_events import CanvasStep, Ended, ModelEvent, Piece, Started
from app.services.diffusion.model_stream import model_event, opened
from app.services.diffusion.models import DiffusionStreamEvent
from tests.fakes import GatedModel
from tests.unit.services.diffusion.serving import serving

Event = DiffusionStreamEvent

SAME = [
    (Event(type="start"), Started()),
    (
        Event(type="start", metadata={"device": "tpu", "prompt_tokens": 4, "truncated_prompt_tokens": 1}),
        Started(device="tpu", num_prompt_tokens=4, num_truncated=1),
    ),
    (Event(type="token", data="a"), Piece("a")),
    (
        Event(type="token", data="a", metadata={"tokens": 2, "denoising_steps": "3", "logprobs": [{"token": "a"}]}),
        Piece("a", 2, 3, ({"token": "a"},)),
    ),
    (Event(type="step", data={"canvas": [None]}), CanvasStep({"canvas": [None]})),
    (Event(type="complete"), Ended()),
    (
        Event(type="complete", metadata={"finish_reason": "length", "tokens_generated": 5, "denoising_steps": 2}),
        Ended(finish_reason="length", num_tokens=5, num_denoising_steps=2),
    ),
    (Event(type="complete", metadata={"prompt_tokens": 4}), Ended(num_prompt_tokens=4)),
]


@pytest.mark.parametrize(("public", "typed"), SAME)
def test_a_public_event_becomes_a_typed_one_and_that_stays_as_it_is(public: Event, typed: ModelEvent) -> None:
    assert model_event(public) == typed
    assert model_event(typed) is typed


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("text", TypeError),
        (Event(type="token"), TypeError),
        (Event(type="token", data="a", metadata={"tokens": "many"}), ValueError),
        (Event(type="error", data="no paper"), GenerationFailed),
    ],
)
def test_an_item_that_is_no_event_is_an_error(wrong: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        model_event(wrong)


async def test_the_stream_is_closed_on_the_way_out() -> None:
    model = GatedModel()
    async with opened(model, model.prepare_request(DiffusionGenerationParams(text="x"))) as events:
        assert model_event(await anext(events)) == Piece("before ")
        assert model.num_open == 1
    assert model.num_open == 0


class Scripted(DiffusionModel):
    """Yields what it is made with."""

    def __init__(self, items: list[StreamItem]) -> None:
        super().__init__("scripted")
        self.items = items

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[StreamItem]:
        for item in self.items:
            yield item


async def test_a_client_cannot_see_in_which_form_a_model_speaks() -> None:
    async def sent(items: list[StreamItem]) -> list[Any]:
        async with serving(Scripted(items)) as service:
            events = [event async for event in service.generate_stream("x", seed=1, stream_mode="canvas")]
        varying = {"request_id", "queue_time", "processing_time", "tokens_per_second"}
        return [
            (event.type, event.data, {name: fact for name, fact in event.metadata.items() if name not in varying})
            for event in events
        ]

    public, typed = zip(*(pair for pair in SAME if pair[1] != Ended()), strict=True)
    assert await sent(list(public)) == await sent(list(typed))
