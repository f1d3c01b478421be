"""The `options` of a request: Ollama's parameters, and our own beside them.

Ollama takes any number, so what is out of bounds is moved to the nearest bound here, and what this server does not know
is passed over. But what would make another text is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from app.api.bodies.names import same_as
from app.api.bodies.unsupported import AsksForNothing, Ignored, Only, unsupported
from app.core.parameters import MAX_SEED, PARAMETERS
from app.services.diffusion.models import MAX_STOP_CHARACTERS, MAX_STOP_STRINGS, Sampling

NO_PENALTIES: Mapping[str, float] = {"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and math.isfinite(value) else value


Whole = Annotated[int, BeforeValidator(_whole), WithJsonSchema({"type": "number"})]
"""An integer. As Ollama does, this leaves out what is behind the point of another number."""

MaybeStop = Annotated[str, Field(max_length=MAX_STOP_CHARACTERS)]
"""A stop string; an empty one stops nothing."""


class Options(AsksForNothing, Sampling):
    """Sampling parameters by Ollama's names; those of this server beside them."""

    model_config = ConfigDict(extra="allow")

    num_predict: Whole | None = Field(
        None,
        description="New tokens at most; above the model's maximum it means that, 0 or below the configured number.",
    )
    temperature: float | None = Field(None, description="Moved to the nearest bound.")
    top_k: Whole | None = Field(None, description="Moved to the nearest bound; 0 or below: the most there may be.")
    top_p: float | None = Field(None, description="Moved to the nearest bound; 0 is greedy.")
    min_p: float | None = Field(None, description="Moved to the nearest bound.")
    repeat_penalty: float | None = Field(None, description="Moved to the nearest bound.")
    presence_penalty: float | None = Field(None, description="Moved to the nearest bound.")
    frequency_penalty: float | None = Field(None, description="Moved to the nearest bound.")
    repeat_last_n: Whole | None = Field(None, description="0: no penalties; else without effect.")
    seed: Whole | None = Field(None, le=MAX_SEED, description="Below 0: the server draws one.")
    stop: MaybeStop | Annotated[list[MaybeStop], Field(max_length=MAX_STOP_STRINGS)] | None = Field(
        None, description="Text before which the answer ends."
    )
    typical_p: Annotated[Any, unsupported("typical_p")] = None
    tfs_z: Annotated[Any, unsupported("tfs_z")] = None
    mirostat: Annotated[Any, unsupported("mirostat")] = None
    mirostat_tau: Annotated[Any, Ignored()] = None
    mirostat_eta: Annotated[Any, Ignored()] = None
    penalize_newline: Annotated[Any, Ignored()] = None
    num_keep: Annotated[Any, Ignored()] = None
    num_ctx: Annotated[Any, Ignored()] = None
    num_batch: Annotated[Any, Ignored()] = None
    num_gpu: Annotated[Any, Ignored()] = None
    num_thread: Annotated[Any, Ignored()] = None
    main_gpu: Annotated[Any, Ignored()] = None
    numa: Annotated[Any, Ignored()] = None
    low_vram: Annotated[Any, Ignored()] = None
    use_mmap: Annotated[Any, Ignored()] = None
    use_mlock: Annotated[Any, Ignored()] = None

    _are_not_two_penalties = field_validator("repeat_penalty")(same_as("repetition_penalty"))

    def given(self, max_length: int) -> dict[str, Any]:
        """The parameters that the service is asked for.

        Args:
            max_length: new tokens that the model can write at most.
        """
        num_tokens = self.num_predict or 0
        given = {
            **{name: getattr(self, name) for name in Sampling.model_fields},
            "max_length": min(num_tokens, max_length) if num_tokens > 0 else None,
            "temperature": _nearest("temperature", self.temperature),
            "top_k": self._top_k(),
            "top_p": _nearest("top_p", self.top_p),
            "min_p": _nearest("min_p", self.min_p),
            "seed": None if self.seed is None or self.seed < 0 else self.seed,
            "stop": [stop for stop in self.stop_strings if stop] or None,
            **self._penalties(),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _top_k(self) -> int | None:
        if self.top_p == 0:
            return 1
        nearest = _nearest("top_k", math.inf if self.top_k is not None and self.top_k < 1 else self.top_k)
        return None if nearest is None else int(nearest)

    def _penalties(self) -> dict[str, float]:
        if self.repeat_last_n == 0:
            return dict(NO_PENALTIES)
        penalties = {
            "repetition_penalty": _nearest("repetition_penalty", self.repeat_penalty),
            "frequency_penalty": _nearest("frequency_penalty", self.frequency_penalty),
            "presence_penalty": _nearest("presence_penalty", self.presence_penalty),
        }
        return {name: penalty for name, penalty in penalties.items() if penalty is not None}


def _nearest(name: str, value: float | None) -> float | None:
    return None if value is None else PARAMETERS[name].nearest(value)


READ = frozenset(
    name
    for name, field in Options.model_fields.items()
    if not any(isinstance(each, Only | Ignored) for each in field.metadata)
)
"""The options that have an effect."""
