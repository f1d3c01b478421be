"""Both clients against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from reynard_diffusion import (
    AsyncDiffusionClient,
    ConnectionLost,
    DiffusionClient,
    DiffusionError,
    GenerationTimeout,
    InvalidRequest,
    NotFound,
    ServerFailed,
    Unavailable,
)
from tests.api.plugin_models import words
from tests.api.serving import Server
from tests.profiles import examples


@pytest.fixture
def client(server: Server) -> Iterator[DiffusionClient]:
    with DiffusionClient(server.url) as client:
        yield client


REQUESTS = st.fixed_dictionaries(
    {
        "model_id": st.sampled_from(["dreamon", "llada", "words", "parrot"]),
        "max_length": st.integers(1, 12),
        "seed": st.integers(0, 2**63 - 1),
        "temperature": st.floats(0.0, 2.0),
        "stream_mode": st.sampled_from(["text", "canvas"]),
    }
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


async def test_texts_are_read_and_scored_and_questions_answered(server: Server, client: DiffusionClient) -> None:
    parts = ["Once ", {"hole": "x", "choices": ["a", "b"]}]
    questions = {"q": {"type": "noul", "instructions": "So?"}}
    read = client.read(parts, model_id="llada", top=3)
    decided = client.decide({"mail": "Help"}, questions, model="llada", permutations=2)
    scored = client.likelihood([" a", " b"], prefix="Once", model_id="llada", num_samples=2)
    assert [choice["text"] for choice in read["holes"]["x"]["choices"]] == ["a", "b"]
    assert 0.0 <= decided["answers"]["q"]["noul"] <= 1.0
    assert (len(scored["likelihoods"]), scored["num_samples"], scored["seed"]) == (2, 2, 0)
    async with AsyncDiffusionClient(server.url) as other:
        assert (await other.read(parts, model_id="llada"))["holes"] == read["holes"]
        assert await other.decide({"mail": "Help"}, questions, model="llada", permutations=2) == decided
        again = await other.likelihood([" a", " b"], prefix="Once", model_id="llada", num_samples=2)
        assert again["likelihoods"] == scored["likelihoods"]


def test_a_question_that_is_refused_says_why(client: DiffusionClient) -> None:
    with pytest.raises(InvalidRequest, match=r"questions\.q\.type='box' must be one of") as refused:
        client.decide("Help", {"q": {"type": "box"}})
    assert (refused.value.status, refused.value.code) == (422, "invalid_parameters")


@examples(25, HealthCheck.function_scoped_fixture)
@given(operation=st.sampled_from(["generate", "infill"]), text=TEXTS, parameters=REQUESTS)
def test_a_stream_comes_to_the_same_as_the_answer_without_streaming(
    client: DiffusionClient, operation: Literal["generate", "infill"], text: str, parameters: dict[str, Any]
) -> None:
    plain = getattr(client, operation)(text, **parameters)
    with getattr(client, f"{operation}_stream")(text, **parameters) as stream:
        events = list(stream)
        streamed = stream.result()
    assert [events[0].type, events[-1].type] == ["start", "complete"]
    assert "".join(event.data for event in events if event.type == "token") == plain.text
    unsteady = {"request_id", "processing_time", "queue_time", "tokens_per_second"}
    assert streamed.text == plain.text
    assert streamed.tokens_generated == plain.tokens_generated
    assert {name: streamed.metadata[name] for name in plain.metadata.keys() - unsteady} == {
        name: value for name, value in plain.metadata.items() if name not in unsteady
    }


async def test_the_other_client_gets_the_same(server: Server) -> None:
    asked: dict[str, Any] = {"model_id": "words", "max_length": 30, "seed": 9}
    async with AsyncDiffusionClient(server.url) as client:
        plain = await client.generate("x", **asked)
        pieces = [event.data async for event in client.infill_stream("x", **asked) if event.type == "token"]
        results = await asyncio.gather(*(client.infill_stream("x", "y", **asked).result() for _ in range(5)))
    assert pieces == words(9, 30)
    assert plain.text == "".join(pieces)
    assert {result.text for result in results} == {plain.text}


def test_a_conversation_is_a_stream_of_text(client: DiffusionClient) -> None:
    turns = [{"role": "user", "content": "Good day"}]
    assert "".join(client.chat_stream(turns, model="parrot")) == "User: Good day\n\nAssistant:"
    with pytest.raises(InvalidRequest, match="tools"):
        next(client.chat_stream(turns, tools=[{"type": "function"}]))


def test_a_stream_that_is_closed_is_cancelled(server: Server, client: DiffusionClient) -> None:
    before = server.wait_until_idle()["cancelled_requests"]
    with client.generate_stream("x", model_id="endless") as stream:
        assert next(stream).type == "start"
    server.wait_until_idle()
    for event in client.generate_stream("x", model_id="endless"):  # the loop's stream is dropped
        if event.type == "token":
            break
    del event
    assert server.wait_until_idle()["cancelled_requests"] == before + 2
    with pytest.raises(RuntimeError, match="closed before its end"):
        stream.result()


async def test_so_is_one_whose_task_is_cancelled(server: Server) -> None:
    before = server.wait_until_idle()["cancelled_requests"]
    async with AsyncDiffusionClient(server.url) as client:
        async with client.generate_stream("x", model_id="endless") as stream:
            assert (await anext(stream)).type == "start"
        task = asyncio.create_task(client.generate("x", model_id="endless"))
        await asyncio.to_thread(server.wait_for, lambda statistics: statistics["requests_in_flight"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait_until_idle)
    assert server.statistics()["cancelled_requests"] == before + 2


@pytest.mark.parametrize(
    ("asked", "kind", "status", "code"),
    [
        ({"top_k": 0}, InvalidRequest, 422, "invalid_parameters"),
        ({"model_id": "gpt"}, NotFound, 404, "unknown_model"),
        ({"model_id": "breaks-at-once"}, ServerFailed, 500, "generation_failed"),
    ],
)
def test_errors_say_what_is_wrong(
    client: DiffusionClient, asked: dict[str, Any], kind: type[DiffusionError], status: int, code: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: client.generate("x", **asked),
        lambda: client.generate_stream("x", **asked).result(),
    ]
    for call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert (type(caught.value), caught.value.status, caught.value.code) == (kind, status, code)
        assert caught.value.request_id in str(caught.value)
    if status == 422:
        assert caught.value.errors[0].field == "top_k"


def test_errors_in_mid_stream(server: Server, client: DiffusionClient) -> None:
    with client.generate_stream("x", model_id="breaks-later") as stream, pytest.raises(ServerFailed) as caught:
        list(stream)
    assert (caught.value.status, caught.value.code) == (None, "generation_failed")
    with server.configured(timeout_seconds=0.5), pytest.raises(GenerationTimeout) as late:
        client.generate_stream("x", model_id="endless").result()
    assert late.value.partial_text.startswith("on on ")


def test_a_server_that_says_no_for_now(server: Server) -> None:
    with (
        server.configured(enabled=False),
        DiffusionClient(server.url, max_retries=0) as client,
        pytest.raises(Unavailable, match=r"try again in 30 s \(disabled"),
    ):
        client.generate("x")


def test_silence_has_a_limit(server: Server) -> None:
    with (
        DiffusionClient(server.url, timeout_s=0.2) as client,
        pytest.raises(ConnectionLost, match=r"said nothing for 0\.2 s"),
    ):
        client.generate("x", model_id="silent")
    server.wait_until_idle()


def test_answers_are_read_whole(server: Server, client: DiffusionClient) -> None:
    server.answer("/generate", {"text": "x", "model_id": "llada", "max_length": 1})
    server.wait_until_idle()
    assert [asdict(model) for model in client.models()] == server.get("/models").json()["models"]
    assert [asdict(model) for model in client.model_details()] == server.get("/admin/models").json()["models"]
    assert asdict(client.stats()) == server.get("/admin/stats").json()
    health = server.get("/admin/health").json()
    assert {"llada", "not-there"} <= asdict(client.health())["models"].keys() == health["models"].keys()
    assert asdict(client.health()).keys() == health.keys()
    answered = server.answer("/generate", {"text": "x", "model_id": "words", "max_length": 2, "seed": 1})
    assert asdict(client.generate("x", model_id="words", max_length=2, seed=1)).keys() == {
        *(answered.keys() - {"generated_text"}),
        "text",
    }


def test_the_rest_of_the_api(client: DiffusionClient) -> None:
    assert {"dreamon", "llada"} <= {model.model_id for model in client.models()}
    configuration = client.config()
    assert client.configure(top_k=configuration["top_k"]).configuration == configuration
    with pytest.raises(InvalidRequest, match="no_such"):
        client.configure(no_such=1)
    assert client.stats().total_requests > 0
    assert client.health().models["llada"].healthy
    assert {model.dtype for model in client.model_details() if model.checkpoint} == {"float32"}
    assert client.reload("llada").is_available
    assert client.cleanup().freed_bytes >= 0
    client.ping()
