from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.training.conftest import TEXTS, language_for, tiny_recipe, tokenizer_for
from training import train as program
from training.batches import draw_samples
from training.evaluate import load_exported
from training.export import export, in_bfloat16
from training.initial import build
from training.interruption import Interruption
from training.objectives import OBJECTIVES, Language, collate
from training.parallel import Gradients
from training.prepare import PROSE, Corpus, Document, encode, save_corpus
from training.recipe import Recipe, Stage, read_recipe
from training.train import ASSETS, Options, TrainingRun, optimise, optimizers, options_of, rate_factor, read_arguments

VARIABLE = {"variable_gap": 0.4, "variable_lines": 0.3, "variable_tail": 0.3}
PLAIN = {"scattered": 0.5, "gap": 0.2, "lines": 0.1, "tail": 0.2}


@pytest.mark.parametrize("is_bf16", [False, True])
@pytest.mark.parametrize(("family", "mixture"), [("llada", PLAIN), ("dream", PLAIN), ("dream", VARIABLE)])
def test_a_few_steps_reduce_the_loss(
    family: str, mixture: dict[str, float], is_bf16: bool, corpus: Corpus, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    name = "llada_language" if family == "llada" else "dreamon_language"
    language: Language = request.getfixturevalue(name)
    recipe = tiny_recipe(family, mixture)
    model = build(recipe, language.tokenizer)
    chosen = optimizers(model, recipe.schedule)
    samples = draw_samples(corpus, language, Stage(1.0, mixture), 1024, [0, 0])
    batch = collate(samples, model.config.prediction_shift)
    gradients = Gradients(model, is_bf16=is_bf16, num_threads=2)
    losses = [optimise(gradients, model, chosen, batch, 1.0, recipe.schedule) for _ in range(6)]
    gradients.close()
    assert losses[-1] < 0.9 * losses[0]
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """A folder with the made-up text as tokens, as `prepare` would leave it, and one for the exported weights."""
    data = tmp_path / "data"
    data.mkdir()
    tokenizer = tokenizer_for("dream")
    tokenizer.save(str(data / "tokenizer.json"))
    tokens = encode(tokenizer, [Document(text, text) for text in TEXTS])
    for part in ("train", "heldout"):
        save_corpus(tokens, data / f"{part}.npz")
    (data / "manifest.json").write_text("{}")
    monkeypatch.setattr(program, "sample_texts", lambda *_: [])
    return Options(tmp_path / "out", data=data)


def budget(tokens: float) -> Recipe:
    """A recipe whose rates do not depend on its budget."""
    recipe = tiny_recipe("dream", PLAIN)
    return replace(recipe, schedule=replace(recipe.schedule, tokens=tokens))


def entries_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(options: Options, tmp_path: Path) -> None:
    straight = TrainingRun(budget(5000), tmp_path / "straight", options)
    straight.train()
    TrainingRun(budget(2500), tmp_path / "halves", options).train()
    resumed = TrainingRun(budget(5000), tmp_path / "halves", options)
    resumed.train()
    assert resumed.step == straight.step
    for name, value in straight.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value)


def test_a_run_leaves_a_log_a_picture_and_a_checkpoint_that_loads_strictly(options: Options, tmp_path: Path) -> None:
    with_picture = replace(options, picture=tmp_path / "run.svg")
    run = TrainingRun(budget(12000), tmp_path / "run", with_picture)
    assert run.train() is None
    *earlier, last = entries_of(tmp_path / "run")
    assert {"loss", "rate", "tokens_per_second"} <= earlier[0].keys()
    assert last["kind"] == "report"
    assert {"masked_0.15", "masked_0.5", "masked_0.85"} <= last.keys()
    model, _ = load_exported(tmp_path / "out")
    assert model.config.tied
    assert "training loss" in (tmp_path / "run.svg").read_text()


def test_a_signal_ends_a_run_after_its_step_with_a_checkpoint(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(*arguments: Any, **named: Any) -> float:
        signal.raise_signal(signal.SIGTERM)
        return optimise(*arguments, **named)

    run = TrainingRun(budget(50000), tmp_path / "run", options)
    with monkeypatch.context() as patched:
        patched.setattr(program, "optimise", signalled)
        assert run.train() is signal.SIGTERM
    assert run.step == 1
    assert entries_of(tmp_path / "run")[-1]["kind"] == "interrupted"
    resumed = TrainingRun(budget(2500), tmp_path / "run", options)
    resumed.train()
    assert entries_of(tmp_path / "run")[1]["kind"] == "resumed"
    assert resumed.step > 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as it acts in a program that was started in the foreground."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_run_that_was_started_to_ignore_interrupts_ignores_them(interruptible: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.signal is None
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_second_signal_acts_at_once(interruptible: None) -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.signal is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def exported(folder: Path, seed: int = 7) -> Path:
    """A checkpoint of the tiny shape with the tokenizer of the made-up text."""
    torch.manual_seed(seed)
    tokenizer, recipe = tokenizer_for("dream"), tiny_recipe("dream", PLAIN)
    export(build(recipe, tokenizer).state_dict(), tokenizer, "dream", recipe.shape, folder)
    return folder


def test_a_warm_start_takes_the_weights_and_says_so(options: Options, tmp_path: Path) -> None:
    source = exported(tmp_path / "earlier")
    run = TrainingRun(budget(1), tmp_path / "run", replace(options, warm_start=(source,)))
    trained, _ = load_exported(source)
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name])
    run.train()
    assert entries_of(tmp_path / "run")[0]["kind"] == "warm_start"
    assert entries_of(tmp_path / "run")[0]["from"] == "earlier"


def test_a_warm_start_from_several_checkpoints_takes_their_mean_and_names_all(options: Options, tmp_path: Path) -> None:
    sources = tuple(exported(tmp_path / f"earlier {seed}", seed) for seed in (7, 8, 9))
    run = TrainingRun(budget(1), tmp_path / "run", replace(options, warm_start=sources))
    weights = [load_exported(source)[0].state_dict() for source in sources]
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in weights]).mean(0))
    run.train()
    named = [entry["from"] for entry in entries_of(tmp_path / "run") if entry["kind"] == "warm_start"]
    assert named == ["earlier 7", "earlier 8", "earlier 9"]


def test_a_warm_start_is_logged_once_and_a_resumed_run_has_its_own_weights(options: Options, tmp_path: Path) -> None:
    warm = replace(options, warm_start=(exported(tmp_path / "earlier"),))
    first = TrainingRun(budget(2500), tmp_path / "run", warm)
    first.train()
    exported(tmp_path / "earlier", seed=8)
    second = TrainingRun(budget(2500), tmp_path / "run", warm)
    second.train()
    assert [entry["kind"] for entry in entries_of(tmp_path / "run")].count("warm_start") == 1
    torch.testing.assert_close(second.model.state_dict(), first.model.state_dict())


def test_a_warm_start_takes_sharded_weights(options: Options, tmp_path: Path) -> None:
    source = exported(tmp_path / "earlier")
    trained, tokenizer = load_exported(source)
    shape = tiny_recipe("dream", PLAIN).shape
    export(trained.state_dict(), tokenizer, "dream", shape, source, max_shard_bytes=20_000)
    assert not (source / "model.safetensors").exists()
    run = TrainingRun(budget(1), tmp_path / "run", replace(options, warm_start=(source,)))
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name])


def test_a_warm_start_refuses_the_weights_of_another_tokenizer(options: Options, tmp_path: Path) -> None:
    source = exported(tmp_path / "earlier")
    tokenizer_for("llada").save(str(source / "tokenizer.json"))
    with pytest.raises(ValueError, match="another tokenizer"):
        TrainingRun(budget(1), tmp_path / "run", replace(options, warm_start=(source,)))


def test_the_weights_of_a_warm_start_from_the_assets_are_named_by_their_run(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "ASSETS", tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "earlier.json").write_text('{"run": {"step": 12, "minutes": 3}}')
    assert program.origin(tmp_path / "earlier") == {"step": 12, "minutes": 3}
    assert program.origin(tmp_path / "unknown") == "unknown"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_goes_on_on_the_cpu(options: Options, tmp_path: Path) -> None:
    on_cuda = replace(options, device=torch.device("cuda"), is_bf16=True, num_workers=2)
    TrainingRun(budget(12000), tmp_path / "run", on_cuda).train()
    TrainingRun(budget(24000), tmp_path / "run", options).train()
    losses = [entry["loss"] for entry in entries_of(tmp_path / "run") if entry["kind"] == "train"]
    assert losses[-1] < 0.9 * losses[0]


def test_a_preset_that_names_several_begins_with_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(tiny_recipe("dream", PLAIN), name="dreamon", begin_with=("one", "another"))
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "read_recipe", lambda *_: recipe)
    folders = tuple(tmp_path / "runs" / f"dreamon-{preset}" / "export" for preset in recipe.begin_with)
    folders[0].mkdir(parents=True)
    with pytest.raises(ValueError, match="begins with the preset 'another', which has not been trained"):
        chosen(model="dreamon")
    folders[1].mkdir(parents=True)
    assert (chosen(model="dreamon").warm_start, chosen(model="dreamon").grow_from) == (folders, None)


def chosen(*arguments: str, model: str = "llada") -> Options:
    return options_of(read_arguments(["--model", model, *arguments]))


def test_only_the_presets_for_shipped_models_export_to_the_assets(tmp_path: Path) -> None:
    assert chosen("--device", "cpu", "--warm-start", "start").target == ASSETS / "llada"
    for model, preset in (("dreamon", "code"), ("llada", "start")):
        assert chosen("--preset", preset, "--run", str(tmp_path), model=model).target == tmp_path / "export"
    quick = chosen("--quick", "--run", str(tmp_path))
    assert quick.target == tmp_path / "export"
    assert quick.picture == tmp_path / "run.svg"
    for target in (ASSETS, ASSETS / "llada"):
        with pytest.raises(ValueError, match="quick"):
            chosen("--quick", "--target", str(target))


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen("--preset", "start").device.type == "cpu"
    with pytest.raises(ValueError, match="CUDA"):
        chosen("--preset", "start", "--device", "cuda")


def test_the_rate_warms_up_stays_and_falls() -> None:
    schedule = read_recipe("dreamon", "code").schedule
    factors = [rate_factor(step, progress, schedule) for step, progress in ((0, 0), (500, 0.2), (900, 0.7), (999, 1))]
    assert factors[0] == pytest.approx(1 / schedule.warmup_steps)
    assert factors[1] == 1.0
    assert factors[2] < 1.0
    assert factors[3] == pytest.approx(schedule.final_rate)


PRESETS = [
    ("dreamon", "code"),
    ("llada", "start"),
    ("dreamon", "english"),
    *((model, preset) for model in ("dreamon", "llada") for preset in ("cpu", "gpu", "quick")),
]


@pytest.mark.parametrize(("model", "preset"), PRESETS)
def test_the_recipes_can_be_read_and_name_known_objectives_and_sources(model: str, preset: str) -> None:
    recipe = read_recipe(model, preset)
    for stage in recipe.schedule.stages:
        for mixture in (stage.mixture, stage.prose_mixture or stage.mixture):
            assert set(mixture) <= set(OBJECTIVES)
            assert sum(mixture.values()) == pytest.approx(1.0)
    assert recipe.schedule.stages[-1].until == 1.0
    assert set(recipe.data["prose"]) <= set(PROSE)


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="cpu, further, start, gpu, quick"):
        read_recipe("llada", "tpu")


@pytest.mark.parametrize(
    ("model", "preset"),
    [
        pytest.param(*each, marks=pytest.mark.thorough) if {"gpu", "code", "start", "english"} & {*each} else each
        for each in PRESETS
    ],
)
def test_a_presets_own_shape_learns(model: str, preset: str, corpus: Corpus) -> None:
    """A few steps on one small batch of the real shape at the preset's peak rates."""
    torch.manual_seed(0)
    recipe = read_recipe(model, preset)
    language = language_for(recipe.family)
    network = build(recipe, language.tokenizer)
    optimisers = optimizers(network, recipe.schedule)
    samples = draw_samples(corpus, language, recipe.schedule.stages[-1], 250, [0, 0])
    batch = collate(samples, network.config.prediction_shift)
    gradients = Gradients(network, num_threads=1)
    losses = [optimise(gradients, network, optimisers, batch, 1.0, recipe.schedule) for _ in range(3)]
    gradients.close()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("model", ["dreamon", "llada"])
def test_the_gpu_presets_stay_below_30_mb(model: str) -> None:
    recipe = read_recipe(model, "gpu")
    trained = build(recipe, tokenizer_for(recipe.family)).state_dict()
    stored = sum(tensor.nbytes for tensor in in_bfloat16(trained).values())
    assert 23e6 < stored < 30e6


@pytest.mark.parametrize("preset", ["code", "gpu", "quick"])
def test_a_run_from_nothing_trains_expansion_only_after_plain_masking(preset: str) -> None:
    first = read_recipe("dreamon", preset).schedule.stage_at(0.0)
    assert not any(name.startswith("variable") for name in first.mixture)


def test_a_run_grows_from_a_smaller_checkpoint_and_says_so(options: Options, tmp_path: Path) -> None:
    source = exported(tmp_path / "smaller")
    larger = replace(budget(1), shape=budget(1).shape | {"layers": 3})
    run = TrainingRun(larger, tmp_path / "run", replace(options, grow_from=source))
    trained, _ = load_exported(source)
    for name, value in run.model.state_dict().items():
        if ".2." not in name:
            torch.testing.assert_close(value, trained.state_dict()[name])
    run.train()
    assert entries_of(tmp_path / "run")[0]["from"] == "smaller"


def test_a_preset_grows_from_the_result_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "ROOT", tmp_path)
    grown = "--preset", "grown"
    with pytest.raises(ValueError, match="run it with --preset code first, or name a checkpoint with --grow-from"):
        chosen(*grown, model="dreamon")
    assert chosen(*grown, "--grow-from", "smaller", model="dreamon").grow_from == Path("smaller")
    assert chosen(*grown, "--warm-start", "as-large", model="dreamon").grow_from is None
    earlier = tmp_path / "runs" / "dreamon-code" / "export"
    earlier.mkdir(parents=True)
    assert chosen(*grown, model="dreamon").grow_from == earlier
    assert chosen(*grown, model="dreamon").warm_start == ()
    assert chosen("--quick", model="dreamon").grow_from is None
