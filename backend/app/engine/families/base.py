"""The declaration of a family: the one place where a network, a sampler and parameters meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.engine.decoding.commit.registry import RULES
from app.engine.decoding.step import Sampler
from app.engine.families.completion import TokenizerCompletion
from app.engine.families.span import Span
from app.engine.interface.params import DecodingParams
from app.engine.models.base import FamilyModel, ModelConfig

COMMON = frozenset(
    {
        *("max_new_tokens", "steps", "seed", "run_to_end"),
        *("temperature", "top_p", "top_k", "min_p", "end_of_turn"),
        *("repetition_penalty", "frequency_penalty", "presence_penalty", "logit_bias"),
        "no_repeat_ngram_size",
        *("algorithm", "cache", "cache_refresh"),
    }
)
"""Parameters that every family takes."""


def _any_config(_: Mapping[str, Any]) -> bool:
    return True


def _as_asked(params: DecodingParams, _: ModelConfig) -> DecodingParams:
    return params


@dataclass(frozen=True, kw_only=True)
class Family:
    """Declares one family. Whatever depends on a family asks its declaration, and compares no names."""

    name: str
    """Its name in settings, errors and `ModelConfig.family`."""

    # How its checkpoints are read.
    published_names: tuple[str, ...]
    """Values of `model_type` or `architectures`, in any case: the releases do not agree on the case. The first is
    the one that an error shows."""
    is_variant: Callable[[Mapping[str, Any]], bool] = _any_config
    """Whether a `config.json` with such a name is this family's: families may share a network, and with it the name."""
    parse_config: Callable[[Mapping[str, Any], str], ModelConfig]
    """Reads a `config.json`, given the family's name."""
    build: Callable[[ModelConfig], FamilyModel]
    completion: TokenizerCompletion | None = None
    """Files beside `config.json` that say what it leaves out; `None`: it leaves nothing out."""

    # How a canvas is denoised.
    sampler: type[Sampler]
    """The sampler, which names the algorithms, the default first, the caches, and the signals that decide which commit
    rules the family takes."""
    span: Span
    """The beginning of a round's span, and whether it changes its length."""
    parameters: frozenset[str] = frozenset()
    """Parameters that it takes beside `COMMON` and those of its commit rules."""
    resolve: Callable[[DecodingParams, ModelConfig], DecodingParams] = _as_asked
    """Fills in what a request leaves to the checkpoint. It may raise InvalidRequest."""
    infills: bool = True
    """Whether there may be text behind the span."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Values of `algorithm`; the first is the default."""
        return self.sampler.ALGORITHMS

    @property
    def caches(self) -> tuple[str, ...]:
        """Values of `cache`."""
        return tuple(self.sampler.CACHES)

    def completed(self, raw_config: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Gives the family's `config.json` with what other files of its folder add.

        Raises:
            CheckpointError: a file is damaged, or none says what is needed.
        """
        return raw_config if self.completion is None else self.completion.complete(raw_config, folder)

    def config_of(self, raw_config: Mapping[str, Any]) -> ModelConfig:
        """Reads a `config.json` of the family.

        Raises:
            CheckpointError: a value is missing or wrong, or asks for something that the network does not compute.
        """
        return self.parse_config(raw_config, self.name)

    def publishes(self, name: str, raw_config: Mapping[str, Any]) -> bool:
        """Whether a checkpoint whose `config.json` says `name` belongs to the family."""
        return name.lower() in {known.lower() for known in self.published_names} and self.is_variant(raw_config)

    def takes(self, parameter: str) -> bool:
        """Whether a parameter has a meaning for the family."""
        return parameter in COMMON or parameter in self.parameters or self._has_rule(parameter)

    def _has_rule(self, parameter: str) -> bool:
        return any(parameter == rule.PARAMETER and rule.NEEDS <= self.sampler.SIGNALS for rule in RULES)
