"""The service of an ingress, with a board that is here and deployments that say what a test wants."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from ray import exceptions
from ray.serve.exceptions import BackPressureError

from app.ray import service as ray_service
from app.ray.board import INGRESS, Report
from app.ray.service import ClusterService
from app.services.diffusion import DiffusionLLMService, InvalidParameters, ModelUnavailable, Overloaded
from app.services.diffusion.decisions import DiffusionDecisionParams
from app.services.diffusion.model_events import Ended, HolesRead
from app.services.diffusion.reading import DiffusionReadParams
from app.services.diffusion.tokens import Encoding, Tokens
from tests.ray.samples import statistics
from tests.ray.world import START, World

pytestmark = pytest.mark.ray

errors: Any = exceptions
"""Ray's exceptions, which have no types."""


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with World.ready() as world:
        yield world


async def test_the_answer_of_a_replica_is_the_answer(world: World) -> None:
    result = await world.service.generate_stream("x", model_id="llada")
    assert (result.text, result.model_id, result.tokens_generated) == ("Hello you", "llada", 2)
    assert world.models["llada"].request_ids == [result.metadata["request_id"]]
    assert not world.models["llada"].results[0].is_cancelled


async def test_what_a_replica_read_is_the_answer_to_a_read_and_to_a_decision(world: World) -> None:
    holes = {"x": {"probabilities": [0.5, 0.5]}}
    question = {"name": "x", "kind": "yes_no", "instructions": "So?", "options": ["", ""]}
    world.models["llada"].batches = [[START], [HolesRead(holes)], [Ended("stop", 0, 1, "cpu")]]
    read = DiffusionReadParams.model_validate({"model_id": "llada", "parts": [{"hole": "x"}]})
    assert (await world.service.read(read)).metadata["holes"] == holes
    decision = DiffusionDecisionParams.model_validate({"model_id": "llada", "state": "x", "questions": [question]})
    assert (await world.service.decide(decision)).metadata["holes"] == holes
    counted = world.service.statistics()
    assert (counted.total_requests, counted.successful_requests, counted.requests_in_flight) == (2, 2, 0)


async def test_what_a_replica_says_of_its_tokens_is_the_answer(world: World) -> None:
    replica, tokens = world.models["llada"], Tokens((5,), ("x",), (b"x",))
    replica.consulted = tokens
    assert await world.service.tokenizers.encode(Encoding("x"), "llada") == tokens
    replica.consulted = "x"
    assert await world.service.tokenizers.decode([5], "llada") == "x"
    replica.consulted = InvalidParameters("token_ids has -1", field="token_ids")
    with pytest.raises(InvalidParameters, match="token_ids has -1"):
        await world.service.tokenizers.decode([-1], "llada")
    replica.consulted = errors.ActorDiedError()
    with pytest.raises(ModelUnavailable, match="send the request again"):
        await world.service.tokenizers.describe("llada")


async def test_a_replica_that_dies_ends_its_streams_with_an_error_event(world: World) -> None:
    world.models["llada"].batches, world.models["llada"].error = [[START]], errors.ActorDiedError()
    events = [event async for event in world.service.generate_stream("x", model_id="llada")]
    assert [event.type for event in events] == ["start", "error"]
    assert events[-1].metadata["code"] == "model_unavailable"
    counted = world.service.statistics()
    assert (counted.total_requests, counted.failed_requests, counted.requests_in_flight) == (1, 1, 0)


async def test_a_caller_that_awaits_the_result_gets_an_error_that_says_to_try_again(world: World) -> None:
    world.models["llada"].batches, world.models["llada"].error = [[START]], errors.ActorDiedError()
    with pytest.raises(ModelUnavailable, match="send the request again"):
        await world.service.generate_stream("x", model_id="llada")


async def test_an_error_of_the_replica_is_that_of_the_service(world: World) -> None:
    world.models["llada"].batches = [[InvalidParameters("steps=0 is wrong", field="steps")]]
    with pytest.raises(InvalidParameters, match="steps=0") as caught:
        await world.service.generate_stream("x", model_id="llada")
    assert caught.value.field == "steps"


async def test_a_full_queue_of_the_deployment_is_an_overload(world: World) -> None:
    world.models["llada"].assignment_error = BackPressureError(num_queued_requests=64, max_queued_requests=64)
    with pytest.raises(Overloaded, match="max_queued_requests"):
        await world.service.generate_stream("x", model_id="llada")


async def test_a_cancelled_request_is_cancelled_at_the_replica(world: World) -> None:
    world.models["llada"].batches = [[START], None]
    generation = world.service.generate_stream("x", model_id="llada")
    await generation.accepted()
    await generation.aclose()
    assert world.models["llada"].results[0].is_cancelled
    assert world.service.statistics().cancelled_requests == 1


async def test_a_fallback_deployment_answers_for_one_that_cannot(world: World) -> None:
    await world.report("llada", is_available=False, error="the checkpoint is damaged")
    result = await world.service.generate_stream("x", model_id="llada")
    assert (result.model_id, result.metadata["requested_model"]) == ("dreamon", "llada")
    assert world.service.health().status == "degraded"
    await world.report("llada")
    assert (await world.service.generate_stream("x", model_id="llada")).model_id == "llada"
    assert world.service.health().status == "healthy"


async def test_a_fallback_that_fails_gives_the_error_of_the_requested_model(world: World) -> None:
    await world.report("llada", is_available=False, error="the checkpoint is damaged")
    world.models["dreamon"].refusal = "it knows no blocks"
    with pytest.raises(ModelUnavailable, match="'dreamon' cannot take its place: it knows no blocks"):
        await world.service.generate_stream("x", model_id="llada", block_length=8)


async def test_a_fallback_model_is_held_while_it_is_asked(world: World) -> None:
    """Else it could be closed before the request begins."""
    await world.report("llada", is_available=False, error="the checkpoint is damaged")
    stand_in = world.service._residency.slot("dreamon").instance
    assert stand_in is not None
    held = []
    world.models["dreamon"].on_check = lambda: held.append(not stand_in.is_idle)
    assert (await world.service.generate_stream("x", model_id="llada")).model_id == "dreamon"
    world.models["dreamon"].refusal = "it knows no blocks"
    with pytest.raises(ModelUnavailable):
        await world.service.generate_stream("x", model_id="llada")
    assert held == [True, True]
    assert stand_in.is_idle


async def test_a_fallback_with_a_full_queue_is_an_overload(world: World) -> None:
    await world.report("llada", is_available=False, error="the checkpoint is damaged")
    world.models["dreamon"].refusal = BackPressureError(num_queued_requests=64, max_queued_requests=64)
    with pytest.raises(Overloaded):
        await world.service.generate_stream("x", model_id="llada")


async def test_a_replica_that_is_still_loading_is_waited_for() -> None:
    world = World()
    await world.report("dreamon")
    await world.report("llada", is_available=False)
    await world.service.initialize()
    generation = asyncio.ensure_future(world.service.generate_stream("x", model_id="llada"))
    await asyncio.sleep(0.3)
    assert not generation.done()
    await world.report("llada")
    assert (await generation).model_id == "llada"
    await world.service.close()


async def test_a_deployment_that_answers_at_last_is_taken_in() -> None:
    world = World()
    await world.report("dreamon")
    await world.report("llada", is_available=False, error="no such folder")
    await world.service.initialize()
    async with asyncio.timeout(10):
        while world.service.health().models["llada"].healthy:
            await asyncio.sleep(0.01)
        await world.report("llada")
        while not world.service.health().models["llada"].healthy:
            await asyncio.sleep(0.01)
    await world.service.close()


async def test_a_change_reaches_the_board_and_all_members(world: World) -> None:
    change = await world.service.configure({"max_length": 7})
    assert change.updated == {"max_length": 7}
    assert world.board.board.exchange(Report("newcomer")).changes["max_length"][1] == 7
    assert world.board.asked == [(INGRESS, "exchange"), ("dreamon", "exchange"), ("llada", "exchange")]


async def test_a_change_that_is_refused_reaches_nobody(world: World) -> None:
    with pytest.raises(InvalidParameters, match="max_length"):
        await world.service.configure({"max_length": 0})
    assert world.board.board.exchange(Report("newcomer")).changes == {}


async def test_a_change_that_reaches_no_board_is_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(changes: dict[str, Any]) -> None:
        raise errors.RaySystemError("no cluster")

    before = world.service.configuration()
    monkeypatch.setattr(world.board.board, "change", fail)
    with pytest.raises(ModelUnavailable, match="nothing is changed"):
        await world.service.configure({"max_length": 7, "top_k": 3})
    assert world.service.configuration() == before


async def test_settings_that_shape_the_deployments_cannot_be_changed(world: World) -> None:
    with pytest.raises(InvalidParameters, match="DIFFUSION_MAX_CONCURRENT_REQUESTS and deploy again") as caught:
        await world.service.configure({"max_concurrent_requests": 5})
    assert caught.value.field == "max_concurrent_requests"


async def test_a_change_elsewhere_is_adopted_at_the_next_exchange(world: World) -> None:
    world.board.board.change({"max_length": 9})
    await world.service.membership.exchange()
    assert world.service.configuration()["max_length"] == 9


async def test_a_change_made_elsewhere_that_is_invalid_here_has_no_effect(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.board.board.change({"content_filter": "/not/there.toml"})
    await world.service.membership.exchange()
    assert "do not fit here" in caplog.text
    assert world.service.configuration()["content_filter"] == ""


async def test_a_reload_says_on_how_many_replicas_it_failed(world: World) -> None:
    world.board.answers["llada", "reload"] = [None, "no such folder"]
    with pytest.raises(ModelUnavailable, match="on 1 of 2 replicas: no such folder"):
        await world.service.reload_model("llada")
    world.board.answers["llada", "reload"] = [None, None]
    assert (await world.service.reload_model("llada")).is_available


async def test_cleaning_up_adds_up(world: World) -> None:
    world.board.answers["llada", "cleanup"] = [1, 2]
    world.board.answers["dreamon", "cleanup"] = [4]
    assert (await world.service.cleanup()).freed_bytes == 7


async def test_statistics_are_those_of_all(world: World) -> None:
    await world.service.generate_stream("x", model_id="llada")
    world.board.board.exchange(Report("other", statistics=statistics(successful=2, in_flight=1)))
    await world.service.membership.exchange()
    await world.service.refresh()
    counted = world.service.statistics()
    assert (counted.total_requests, counted.successful_requests, counted.requests_in_flight) == (4, 3, 1)


async def test_the_last_report_of_an_ingress_has_the_outcomes_of_its_requests(world: World) -> None:
    world.models["llada"].batches = [[START], None]
    generation = world.service.generate_stream("x", model_id="llada")
    await generation.accepted()
    await world.service.membership.exchange()
    assert world.board.board.statistics().requests_in_flight == 1
    await world.service.close()
    told = world.board.board.statistics()
    assert (told.requests_in_flight, told.cancelled_requests) == (0, 1)


async def test_health_has_a_component_per_replica(world: World) -> None:
    components = world.service.health().components
    assert components["replica llada-0"].detail == "llada on cpu, 1.5 MB of weights"


def test_an_ingress_knows_the_service_by_its_public_names_alone() -> None:
    private = {name for name in vars(ClusterService) if name.startswith("_") and not name.startswith("__")}
    assert not [name for name in private if hasattr(DiffusionLLMService, name)]
    tree = ast.parse(inspect.getsource(ray_service))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")}
    of_the_service = {*vars(DiffusionLLMService), *vars(DiffusionLLMService())}
    assert not {name for name in used if not name.startswith("__")} & of_the_service


def test_the_service_can_be_made_before_a_subclass_has_any_field() -> None:
    class Bare(DiffusionLLMService):
        def __getattribute__(self, name: str) -> Any:
            assert name not in vars(DiffusionLLMService), f"{name} may be overridden, and is used too early"
            return super().__getattribute__(name)

    Bare()
