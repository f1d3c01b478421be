"""Reads a recipe: a model's data, its shape and its schedule. Each model has a file, each preset a section."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the schedule with its own mixture of objectives."""

    until: float
    """The end of the stage, as a share of the whole budget."""
    mixture: dict[str, float]
    """The share of the samples by the objective's name."""
    prose_mixture: dict[str, float] | None = None
    """The share of the samples of prose, where it differs; then gaps in prose are runs of words, never whole lines."""

    def mixture_of(self, *, is_code: bool) -> dict[str, float]:
        return self.mixture if is_code or self.prose_mixture is None else self.prose_mixture


@dataclass(frozen=True, slots=True)
class Schedule:
    """The budget and the learning rates of a run; the budget is used up by tokens or minutes, whichever comes first."""

    tokens: float
    minutes: float
    batch_tokens: int
    muon_rate: float
    adam_rate: float
    warmup_steps: int
    constant_until: float
    final_rate: float
    """The share of the peak rate at the end of the linear decay."""
    weight_decay: float
    clip: float
    average_decay: float
    """The decay per step of the moving average of the weights, which is evaluated and exported."""
    seed: int
    stages: tuple[Stage, ...]
    checkpoint_every_s: float = 120
    report_every_s: float = 300

    def stage_at(self, progress: float) -> Stage:
        return next((stage for stage in self.stages if progress < stage.until), self.stages[-1])


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of one model, with the values of one preset."""

    name: str
    preset: str
    family: str
    """The published format: `llada` or `dream`."""
    shape: dict[str, Any]
    data: dict[str, Any]
    schedule: Schedule
    begin_with: tuple[str, ...] = ()
    """The presets whose results a run begins with: the mean of some of its own shape, or grown from a smaller one.
    Without any it starts from nothing."""
    defaults: Mapping[str, int] = field(default_factory=dict)
    """The parameters that the checkpoint chooses for its continuations, `block_length` or `initial_masks`."""
    remark: str = ""
    """The difference of the shipped weights from the recipe's result today, for the card."""


def read_recipe(name: str, preset: str, folder: Path = RECIPES) -> Recipe:
    """The recipe `<name>.toml` with the values of one preset.

    Raises:
        ValueError: the recipe has no such preset.
    """
    table = tomllib.loads((folder / f"{name}.toml").read_text())
    presets = [key for key, value in table.items() if isinstance(value, dict)]
    if preset not in presets:
        raise ValueError(f"recipes/{name}.toml has no preset {preset!r}, it has {', '.join(presets)}")
    chosen = table[preset]
    stages = tuple(Stage(**stage) for stage in chosen["stages"])
    schedule = Schedule(**chosen["schedule"], stages=stages)
    return Recipe(
        name,
        preset,
        table["family"],
        chosen["shape"],
        chosen["data"],
        schedule,
        begin_with=tuple(chosen.get("begin_with", ())),
        defaults=chosen.get("defaults", {}),
        remark=chosen.get("remark", ""),
    )
