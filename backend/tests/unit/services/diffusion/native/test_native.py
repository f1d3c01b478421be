"""The joint of text and engine: with a scripted engine for timing, and with real tiny checkpoints."""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from app.core.logging import label_log_lines
from app.engine.device.memory import DeviceMemory
from app.engine.interface.config import Demand, EngineConfig
from app.engine.interface.errors import (
    EngineError,
    EngineStopped,
    InvalidRequest,
    LogitsNotFinite,
    OutOfDeviceMemory,
    QueueFull,
)
from app.engine.interface.events import (
    Admitted,
    Cancelled,
    CanvasSnapshot,
    Commit,
    EngineEvent,
    Failed,
    Finished,
    FinishReason,
    Step,
)
from app.engine.interface.params import GenerationRequest
from app.engine.request import validation
from app.engine.room import check
from app.services.diffusion import (
    ChatMessage,
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionLLMService,
    GenerationFailed,
    InvalidParameters,
    ModelUnavailable,
    NativeDiffusionModel,
    Overloaded,
    UnsupportedOperation,
)
from app.services.diffusion.errors import OutOfMemory
from app.services.diffusion.families.llada import LLADA
from app.services.diffusion.model_events import CanvasStep, Ended, Piece, Started
from app.services.diffusion.native import composing, native
from app.services.diffusion.native.decoding import decoding_params
from app.services.diffusion.native.loading import Loaded
from app.services.diffusion.native.prompt import prompt_ids
from app.text.errors import ChatTemplateError, ConversationRefused
from app.text.tokenizer import Tokenizer
from tests.unit.services.diffusion.serving import until

VECTORS = Path(__file__).parents[4] / "conformance" / "vectors"
CPU = EngineConfig(device="cpu", dtype="float32")


class ScriptedEngine:
    """Stands where an EngineThread does; the test sends the events."""

    device, dtype, memory_bytes, load_time_s = "cpu", "float32", 1000, 0.1
    algorithms = ("low_confidence", "random")

    def __init__(self, family: str = "llada") -> None:
        self.model = SimpleNamespace(config=SimpleNamespace(family=family, context_length=512, vocab_size=512))
        self.request: GenerationRequest | None = None
        self.refusal: EngineError | None = None
        self.aborted: list[str] = []
        self.is_up = True
        self.prepared_by: threading.Thread | None = None
        self._on_event: Callable[[EngineEvent], None] | None = None

    def prepare(self, request: GenerationRequest, on_event: Callable[[EngineEvent], None]) -> Callable[[], None]:
        self.prepared_by = threading.current_thread()

        def enter() -> None:
            self.request, self._on_event = request, on_event

        return enter

    def enter(self, state: Callable[[], None]) -> None:
        if self.refusal is not None:
            raise self.refusal
        state()

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    def is_alive(self) -> bool:
        return self.is_up

    @property
    def problem(self) -> str | None:
        return None if self.is_up else "the cable was pulled"

    def close(self) -> None:
        self.is_up = False

    @property
    def request_id(self) -> str:
        assert self.request is not None
        return self.request.request_id

    def send(self, *events: EngineEvent) -> None:
        """From another thread, as the real one does."""
        sender = threading.Thread(target=lambda: [cast(Any, self._on_event)(event) for event in events])
        sender.start()
        sender.join()

    def admit(self) -> None:
        self.send(Admitted(self.request_id, "cpu", num_truncated=3))

    def step(self, *token_ids: int, nfe: int = 1, snapshot: CanvasSnapshot | None = None) -> Step:
        return Step(self.request_id, tuple(token_ids), nfe, snapshot)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.load(VECTORS / "llada-tiny")


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def model(engine: ScriptedEngine, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> NativeDiffusionModel:
    monkeypatch.setattr(native, "load", lambda *_: Loaded(tokenizer, cast(Any, engine), LLADA))
    model = NativeDiffusionModel("scripted", location="nowhere", config=CPU)
    assert await model.initialize()
    return model


def asking(**given: Any) -> DiffusionGenerationParams:
    return DiffusionGenerationParams(**{"text": "hello", "max_length": 8, "seed": 1, **given})


async def opened(model: NativeDiffusionModel, engine: ScriptedEngine, **given: Any) -> AsyncIterator[Any]:
    """A stream that the engine has admitted; `start` has been read."""
    stream = model.generate_stream(asking(**given))
    first = asyncio.ensure_future(anext(stream))
    await until(lambda: engine.request is not None)
    assert not first.done(), "start waits for the engine"
    engine.admit()
    started = await first
    assert isinstance(started, Started)
    assert started.num_truncated == 3
    return stream


async def test_each_piece_of_text_comes_with_its_tokens(
    model: NativeDiffusionModel, engine: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode("a é 🦊 b")
    stream = await opened(model, engine)
    engine.send(
        engine.step(*ids, nfe=4), Finished(engine.request_id, FinishReason.LENGTH, len(ids), nfe=9, device="cpu")
    )
    *pieces, ended = [event async for event in stream]
    assert "".join(piece.text for piece in pieces) == "a é 🦊 b"
    assert "\ufffd" not in "".join(piece.text for piece in pieces)
    assert sum(piece.num_tokens for piece in pieces) == len(ids)
    assert all(piece.num_denoising_steps == 4 for piece in pieces)
    assert ended == Ended(finish_reason="length", num_tokens=len(ids), num_denoising_steps=9, device="cpu")


async def test_an_open_character_is_sent_at_the_end(
    model: NativeDiffusionModel, engine: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode("🦊")[:-1]
    stream = await opened(model, engine)
    engine.send(engine.step(*ids), Finished(engine.request_id, FinishReason.STOP, len(ids), nfe=1, device="cpu"))
    assert [type(event) async for event in stream] == [Piece, Ended]


async def test_a_slow_reader_gets_all_text_and_the_newest_canvas(
    model: NativeDiffusionModel, engine: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode("slow and steady")
    mask = tokenizer.require("mask")
    stream = await opened(model, engine, stream_mode="canvas")
    for number, token_id in enumerate(ids):
        snapshot = CanvasSnapshot(
            (*ids[: number + 1], mask), mask, (Commit(number, token_id, 0.51239),), (2,), (1,), (0,), (number,)
        )
        engine.send(engine.step(token_id, nfe=number + 1, snapshot=snapshot))
    engine.send(Finished(engine.request_id, FinishReason.STOP, len(ids), nfe=len(ids), device="cpu"))
    events = [event async for event in stream]
    assert "".join(event.text for event in events if isinstance(event, Piece)) == "slow and steady"
    (step,) = (event.data for event in events if isinstance(event, CanvasStep))
    texts = [tokenizer.token_text(token_id) for token_id in ids]
    assert step == {
        "canvas": [*texts, None],
        "committed": [{"index": len(ids) - 1, "text": texts[-1], "confidence": 0.5124}],
        "expanded": [2],
        "deleted": [1],
        "revoked": [0],
        "forced": [len(ids) - 1],
        "step": len(ids),
        "nfe": len(ids),
    }


async def test_a_closed_stream_aborts_and_waits_for_the_engine(
    model: NativeDiffusionModel, engine: ScriptedEngine
) -> None:
    stream = await opened(model, engine)
    closing = asyncio.ensure_future(cast(Any, stream).aclose())
    await until(lambda: engine.aborted == [engine.request_id])
    engine.send(engine.step(5))
    await asyncio.sleep(0.01)
    assert not closing.done(), "a step that was under way is no end"
    engine.send(Cancelled(engine.request_id, nfe=1))
    await asyncio.wait_for(closing, 30)


async def test_a_cancelled_reader_aborts_too(model: NativeDiffusionModel, engine: ScriptedEngine) -> None:
    stream = await opened(model, engine)
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reading.cancel()
    await until(lambda: bool(engine.aborted))
    engine.send(Cancelled(engine.request_id, nfe=1))
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (OutOfDeviceMemory("2 GiB"), OutOfMemory, "has no memory for this request now"),
        (InvalidRequest("no", field="max_new_tokens"), InvalidParameters, "no"),
        (QueueFull("full"), Overloaded, "full"),
        (LogitsNotFinite("in step 7 no numbers"), GenerationFailed, "in step 7 no numbers"),
    ],
)
@pytest.mark.parametrize("when", ["at submission", "later"])
async def test_errors_of_the_engine_become_the_services(
    model: NativeDiffusionModel,
    engine: ScriptedEngine,
    error: EngineError,
    expected: type[Exception],
    message: str,
    when: str,
) -> None:
    if when == "at submission":
        engine.refusal = error
        stream = model.generate_stream(asking())
    else:
        stream = await opened(model, engine)
        engine.send(Failed(engine.request_id, error, nfe=1))
    with pytest.raises(expected, match=message) as caught:
        await anext(stream)
    if isinstance(caught.value, InvalidParameters):
        assert caught.value.field == "max_length"
    assert not engine.aborted


async def test_an_engine_that_stops_under_a_request_fails_it(
    model: NativeDiffusionModel, engine: ScriptedEngine
) -> None:
    stream = await opened(model, engine)
    engine.send(Failed(engine.request_id, EngineStopped("tensor 0xdeadbeef"), nfe=1))
    with pytest.raises(GenerationFailed, match="the server's log says why"):
        await anext(stream)


async def test_a_dead_engine_is_noticed_and_others_take_over(
    model: NativeDiffusionModel, engine: ScriptedEngine
) -> None:
    engine.is_up, engine.refusal = False, EngineStopped("the cable was pulled")
    with pytest.raises(ModelUnavailable, match="being loaded again"):
        await anext(model.generate_stream(asking()))
    assert model.problem == "the cable was pulled"


async def test_long_texts_are_tokenised_elsewhere(
    model: NativeDiffusionModel, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def spying(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return prompt_ids(*args)

    monkeypatch.setattr(composing, "prompt_ids", spying)
    for length in (10, composing.LONG_TEXT_CHARACTERS + 1):
        stream = model.generate_stream(asking(text="x" * length))
        reading = asyncio.ensure_future(anext(stream))
        engine.request = None
        await until(lambda: engine.request is not None)
        engine.send(Cancelled(engine.request_id, nfe=0))
        await asyncio.wait({reading})
        assert isinstance(reading.exception(), StopAsyncIteration)
    assert threads[0] == threading.main_thread().name != threads[1]


async def test_the_engine_uses_the_same_id_of_a_request_as_the_service(
    model: NativeDiffusionModel, engine: ScriptedEngine
) -> None:
    label_log_lines("theirs")
    readings, endings = [], []
    for _ in range(2):  # at the same time, from two clients that chose the same id
        readings.append(asyncio.ensure_future(anext(model.generate_stream(asking()))))
        engine.request = None
        await until(lambda: engine.request is not None)
        endings.append((engine.request_id, engine._on_event))
    assert [name for name, _ in endings] == ["theirs", "theirs~2"]
    for name, tell in endings:
        assert tell is not None
        tell(Cancelled(name, nfe=0))
    await asyncio.wait(readings)


# -- real checkpoints ------------------------------------------------------------------------------------------------

REAL = {
    "dreamon_path": str(VECTORS / "dreamon-tiny"),
    "llada_path": str(VECTORS / "llada-tiny"),
    "extra_models": f"dream={VECTORS / 'dream-tiny'}",
    "default_model": "llada",
    "device_preference": "cpu",
    "max_length": 24,
}


@pytest.fixture
async def service() -> AsyncIterator[DiffusionLLMService]:
    service = DiffusionLLMService()
    assert await service.initialize(REAL)
    yield service
    await service.close()


@pytest.mark.parametrize("model_id", ["dreamon", "llada", "dream"])
async def test_the_stream_and_the_result_are_the_same_for_every_seed(
    model_id: str, service: DiffusionLLMService
) -> None:
    for seed in range(3):
        settings = {"model_id": model_id, "seed": seed, "temperature": 1.0}
        result = await service.generate_stream("def main", **settings)
        events = [event async for event in service.generate_stream("def main", stream_mode="canvas", **settings)]
        assert "".join(event.data for event in events if event.type == "token") == result.text
        assert events[-1].metadata["tokens_generated"] == result.tokens_generated <= 24
        steps = [event.data for event in events if event.type == "step"]
        assert steps[-1]["nfe"] <= result.metadata["denoising_steps"]
        filled = await service.infill_stream("def", "return", max_length=12, **settings)
        again = await service.infill_stream("def", "return", max_length=12, **settings)
        assert filled.text == again.text
        assert filled.tokens_generated <= 12
        assert filled.metadata["prompt_tokens"] > 0
        assert filled.metadata["truncated_prompt_tokens"] == 0


async def test_requests_together_answer_as_alone(service: DiffusionLLMService) -> None:
    asked = [
        {"model_id": model_id, "seed": seed, "max_length": 8 + 4 * seed}
        for model_id in ("dreamon", "llada", "dream")
        for seed in range(3)
    ]
    alone = [(await service.generate_stream("import os", **given)).text for given in asked]
    together = await asyncio.gather(*(service.generate_stream("import os", **given) for given in asked))
    assert [result.text for result in together] == alone


async def test_a_parameter_that_a_family_does_not_take_is_refused_by_name(service: DiffusionLLMService) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("llada", {"initial_masks": 4}),
        ("llada", {"alg_temp": 0.5}),
        ("llada", {"max_length": 1025}),
        ("llada", {"algorithm": "entropy"}),
        ("dreamon", {"cfg_scale": 1.0}),
        ("dream", {"confidence_threshold": 0.9}),
        ("dreamon", {"block_length": 8}),
        ("dream", {"initial_masks": 4}),
    ]
    for model_id, given in wrong:
        (field,) = given
        with pytest.raises(InvalidParameters, match=str(given[field])) as caught:
            await service.generate_stream("x", model_id=model_id, **given)
        assert caught.value.field == field


async def test_parameters_are_translated_and_checked_once(
    service: DiffusionLLMService, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counting(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **more: Any) -> Any:
            done.append(name)
            return work(*given, **more)

        return counted

    monkeypatch.setattr(native, "decoding_params", counting("translated", decoding_params))
    monkeypatch.setattr(validation, "validate_params", counting("checked", validation.validate_params))
    await service.generate_stream(DiffusionGenerationParams(text="x", max_length=4))
    assert done == ["translated", "checked"]
    await service.infill_stream("x", "y", max_length=4, temperature=0.5)
    assert done == ["translated", "checked"] * 2


async def test_an_abandoned_request_leaves_the_engine_empty(service: DiffusionLLMService) -> None:
    for _ in range(3):
        async for _event in service.generate_stream("x", max_length=1024):
            break
    await until(lambda: service.statistics().cancelled_requests == 3)
    instance = service._residency.slot("llada").instance
    assert instance is not None
    assert isinstance(instance.model, NativeDiffusionModel)
    assert instance.model._loaded is not None
    assert not instance.model._loaded.engine._engine.has_work


async def test_a_reload_under_traffic_drops_nothing(service: DiffusionLLMService) -> None:
    running = [asyncio.ensure_future(service.generate_stream("x", max_length=64, seed=4)) for _ in range(3)]
    await until(lambda: service.statistics().requests_in_flight == 3)
    details = await service.reload_model("llada")
    results = await asyncio.gather(*running)
    assert len({result.text for result in results}) == 1
    assert details.is_available
    assert details.load_time is not None
    assert (await service.generate_stream("x", max_length=64, seed=4)).text == results[0].text


async def test_weights_are_quantised_when_the_model_is_loaded_again(service: DiffusionLLMService) -> None:
    before = await service.reload_model("llada")
    assert (await service.configure({"quantization": "int8"})).needs_reload == ["quantization"]
    after = await service.reload_model("llada")
    assert (after.quantization, after.dtype) == ("int8", before.dtype)
    assert after.memory_usage < before.memory_usage
    assert (await service.generate_stream("x", max_length=8)).metadata["denoising_steps"]


async def test_a_reload_takes_the_settings_of_its_time_where_a_load_had_begun_before(
    service: DiffusionLLMService,
) -> None:
    await service.reload_model("llada")
    slot = service._residency.slot("llada")
    before = slot._tried
    begun = asyncio.create_task(service.reload_model("llada"))
    await until(lambda: slot._tried is not before)
    await service.configure({"quantization": "int8"})
    assert (await service.reload_model("llada")).quantization == "int8"
    assert not slot.outdated_settings
    await begun


@pytest.mark.parametrize(("device", "expected"), [("cuda:0", ["closed", "cuda:0"]), ("cpu", ["closed"])])
async def test_a_device_is_given_back_once_the_engine_is_closed(
    device: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(native, "_free_caches", done.append)
    model = NativeDiffusionModel("mine", location="", config=CPU)
    model._loaded = cast(
        Loaded, SimpleNamespace(engine=SimpleNamespace(device=device, close=lambda: done.append("closed")))
    )
    await model.close()
    assert done == expected


async def test_a_failed_reload_is_no_problem_any_more_once_its_settings_are_taken_back(
    service: DiffusionLLMService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problems() -> tuple[str, bool, str | None]:
        report = service.health()
        details = {model.model_id: model for model in service.model_details()}
        return report.status, report.models["llada"].healthy, details["llada"].error

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    await until(lambda: all(slot.instance is not None for slot in service._residency.slots))
    fine = problems()
    before = service.configuration()["device_preference"]
    await service.configure({"device_preference": "cuda:9"})
    with pytest.raises(ModelUnavailable, match="the one loaded before goes on answering"):
        await service.reload_model("llada")
    status, is_healthy, error = problems()
    assert (status, is_healthy) == ("degraded", False)
    assert "cuda:9" in (error or "")
    assert (await service.configure({"device_preference": before})).needs_reload == []
    assert problems() == fine == ("healthy", True, None)
    # Settings that would load another model than the one that answers leave it as it is.
    await service.configure({"device_preference": "cuda:9"})
    assert problems() == (status, is_healthy, error)


async def test_settings_that_need_a_reload_are_reported_for_loaded_models(
    service: DiffusionLLMService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def needs_reload(**changes: Any) -> list[str]:
        return (await service.configure(changes)).needs_reload

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = service.configuration()
    await until(lambda: all(slot.instance is not None for slot in service._residency.slots))
    pending = await needs_reload(temperature=0.5)
    assert pending == [], "nothing has changed since"
    # There and back again.
    assert await needs_reload(device_preference="cuda") == ["device_preference"]
    assert await needs_reload(temperature=0.6) == ["device_preference"], "it still does"
    assert await needs_reload(device_preference=before["device_preference"]) == []
    # Another word for the same.
    assert await needs_reload(device_preference="auto", dtype="auto", memory_threshold=0.7) == []
    assert await needs_reload(device_preference="cpu", dtype="float32", cpu_runtime="onnx") == []
    assert await needs_reload(dtype="bfloat16", cpu_runtime="torch") == ["cpu_runtime", "dtype"]
    assert await needs_reload(dtype="float32", cpu_runtime="auto", quantization="int8") == ["quantization"]
    assert await needs_reload(llada_path="") == ["llada_path", "quantization"]
    more = f"{before['extra_models']},more={VECTORS / 'llada-tiny'}"
    # A model that is there but not loaded takes whatever is in force when it is.
    assert await needs_reload(quantization="none", extra_models=more) == ["llada_path"]
    # Loading is what settles it.
    await service.reload_model("llada")
    assert await needs_reload(temperature=0.7) == []
    assert await needs_reload(llada_path=before["llada_path"]) == ["llada_path"]


@pytest.mark.parametrize(
    ("location", "capabilities"),
    [
        ("llada-tiny", ("generate", "infill", "chat", "read", "constrain")),
        ("block/sdar-tiny", ("generate", "chat", "read", "constrain")),
        ("no-such-folder", ("generate", "chat", "read")),
    ],
)
async def test_a_checkpoint_says_what_it_can_before_it_is_loaded(location: str, capabilities: tuple[str, ...]) -> None:
    """Nothing is listed of a family that is not known yet, and nothing refused for it."""
    model = NativeDiffusionModel("mine", location=str(VECTORS / location), config=CPU)
    gap = DiffusionInfillingParams(prefix="a", suffix="b")
    assert model.capabilities == ("generate", "chat", "read")
    model.check_operation(gap)
    await model.describe_itself()
    assert model.capabilities == capabilities
    if location == "block/sdar-tiny":
        with pytest.raises(UnsupportedOperation):
            model.check_operation(gap)
    else:
        model.check_operation(gap)


async def test_a_checkpoint_that_waits_for_its_first_request_is_listed_with_what_it_can() -> None:
    service = DiffusionLLMService()
    assert await service.initialize({**REAL, "preload": "default"})
    try:
        slot = service._residency.slot("dreamon")
        await until(lambda: "infill" in slot.details().capabilities)
        assert slot.is_available
        assert slot.instance is None
    finally:
        await service.close()


async def test_details_of_a_loaded_checkpoint() -> None:
    model = NativeDiffusionModel("mine", location=str(VECTORS / "llada-tiny"), config=CPU)
    assert model.details().dtype is None
    assert await model.initialize()
    details = model.details()
    assert (details.dtype, details.max_length, details.device) == ("float32", 1024, "cpu")
    assert details.quantization == "none"
    assert details.memory_usage > 0
    memory = details.memory
    assert memory is not None
    parts = memory.weights + memory.cache + memory.logits + memory.states
    assert details.memory_needed == pytest.approx(parts, abs=0.3)
    assert (memory.cache, memory.requests) == (0.0, 1)
    # The weights, and the graph of whole canvases; that of spans is reckoned with, and not there yet.
    assert memory.weights == pytest.approx(details.memory_usage * 3 / 2, abs=0.2)
    assert "block_length" in details.parameters
    assert "initial_masks" not in details.parameters
    await model.close()
    assert model.memory_bytes == 0


async def test_a_model_without_room_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "device_memory", lambda device: DeviceMemory(9_000_000, 10_000_000))
    monkeypatch.setattr(check, "free_caches", lambda device: None)
    model = NativeDiffusionModel("mine", location=str(VECTORS / "llada-tiny"), config=CPU, demand=Demand(num_new=20))
    assert not await model.initialize()
    assert model.problem is not None
    assert re.match(
        r"llada-tiny needs .* for 20 new tokens behind \d+ .*; 1 MB of 10 MB are free on cpu", model.problem
    )


@pytest.mark.parametrize("damage", ["nothing there", "no tokenizer", "no weights", "another's tokenizer"])
async def test_a_damaged_checkpoint_is_a_false_with_a_cause(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    if damage != "nothing there":
        shutil.copytree(VECTORS / "llada-tiny", folder)
    if damage == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif damage == "no weights":
        (folder / "model.safetensors").unlink()
    elif damage == "another's tokenizer":
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copy(VECTORS / "dream-tiny" / name, folder)
    model = NativeDiffusionModel("mine", location=str(folder), config=CPU)
    assert await model.initialize() is False
    assert model.problem


async def test_a_template_that_refuses_the_messages_is_the_requests_fault(
    model: NativeDiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConversationRefused("roles must alternate")

    monkeypatch.setattr(composing, "prompt_ids", refuse)
    chat = DiffusionChatParams(messages=[ChatMessage(role="user", content="a")], max_length=4, seed=1)
    with pytest.raises(InvalidParameters, match="messages: roles must alternate") as refusal:
        await anext(model.generate_stream(chat))
    assert refusal.value.field == "messages"


async def test_a_template_that_fails_is_the_models_fault(
    model: NativeDiffusionModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ChatTemplateError("the chat template is broken: division by zero")

    monkeypatch.setattr(composing, "prompt_ids", fail)
    chat = DiffusionChatParams(messages=[ChatMessage(role="user", content="a")], max_length=4, seed=1)
    with pytest.raises(GenerationFailed, match=r"the chat template of model .* failed") as failure:
        await anext(model.generate_stream(chat))
    assert "division" not in str(failure.value)
    assert "cannot chat: the chat template is broken: division by zero" in caplog.text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% for m in messages %}{{ m['content'] }", "TemplateSyntaxError"),
        ("{{ nothing.at_all }}", "UndefinedError"),
        ("{{ 1 | no_such_filter }}", "No filter named 'no_such_filter'"),
        ("{% include 'other' %}", "the chat template is broken"),
        ("{# nothing #}", "writes nothing for a user's message"),
        ("{{ '=' * 10**9 }}", "too long"),
    ],
)
async def test_a_broken_template_is_found_at_loading(tmp_path: Path, template: str, problem: str) -> None:
    folder = shutil.copytree(VECTORS / "llada-tiny", tmp_path / "llada-tiny")
    (folder / "chat_template.jinja").write_text(template)
    model = NativeDiffusionModel("mine", location=str(folder), config=CPU)
    assert await model.initialize() is False
    assert model.problem is not None
    assert problem in model.problem
    assert "mend it, or remove it" in model.problem


TOOLS_TEMPLATE = """
{%- if tools %}{{ tools[0].function.parameters.properties.a.type + tools | tojson }}{% endif %}
{%- for message in messages %}{{ message.content }}{% endfor %}"""


async def test_a_template_that_reads_tools_gets_them_and_may_not_be_broken_by_them(tmp_path: Path) -> None:
    folder = shutil.copytree(VECTORS / "llada-tiny", tmp_path / "llada-tiny")
    (folder / "chat_template.jinja").write_text(TOOLS_TEMPLATE)
    model = NativeDiffusionModel("mine", location=str(folder), config=CPU)
    assert await model.initialize()
    tool = {"function": {"name": "add", "parameters": {"properties": {"a": {"type": "string"}}}}}

    async def num_prompt_tokens(tools: list[dict[str, Any]]) -> int:
        turns = [ChatMessage(role="user", content="a")]
        params = DiffusionChatParams(messages=turns, tools=tools, max_length=1, seed=1)
        started = [event async for event in model.generate_stream(params) if isinstance(event, Started)]
        return started[0].num_prompt_tokens or 0

    try:
        assert await num_prompt_tokens([tool]) > await num_prompt_tokens([]) + 20
        with pytest.raises(InvalidParameters, match="messages: with these tools the chat template is broken"):
            await num_prompt_tokens([{"function": {"name": "add"}}])
    finally:
        await model.close()


@pytest.mark.parametrize("template", ["", " \n", "{{ raise_exception('only ever three turns') }}"])
async def test_an_empty_template_and_one_that_refuses_are_no_reason_not_to_load(tmp_path: Path, template: str) -> None:
    folder = shutil.copytree(VECTORS / "llada-tiny", tmp_path / "llada-tiny")
    (folder / "chat_template.jinja").write_text(template)
    model = NativeDiffusionModel("mine", location=str(folder), config=CPU)
    assert await model.initialize() is True
    await model.close()
