"""`adapter_config.json` of a PEFT LoRA: which modules it changes, by which rank, and how much.

The rules by which names are matched are those of PEFT (`tuners_utils.check_target_module_exists`,
`other.get_pattern_key`), so that a module is changed here if and only if it was when the adapter was trained. Patterns
are read by RE2, in which none takes long.

    {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"],
     "rank_pattern": {"layers.0.q_proj": 4}}       the first layer's queries have rank 4 and scale 16 / 4, others 16 / 8
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import re2  # type: ignore[import-untyped]  # it has no annotations

from app.engine.interface.errors import CheckpointError

N = TypeVar("N", int, float)

CONFIG_NAME = "adapter_config.json"

_ALL_LINEAR = "all-linear"

_REFUSED = {
    "modules_to_save": "whole modules beside the low-rank changes would be no longer the base's",
    "use_dora": "DoRA rescales the base's own weights",
    "lora_bias": "biases are not added",
    "trainable_token_indices": "embeddings are not changed",
    "target_parameters": "only projections are changed",
    "layer_replication": "the base's layers are computed once each",
    "use_qalora": "inputs are not pooled",
    "alora_invocation_tokens": "an adapter changes all tokens of a sequence",
    "megatron_config": "the base is not parallelised by Megatron",
}
"""Settings that ask for something that is not computed, and why not."""

_OF_TRAINING = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"),
        *("lora_dropout", "megatron_core", "runtime_config", "qalora_group_size", "ensure_weight_tying"),
        *("eva_config", "loftq_config", "corda_config", "lora_ga_config"),
        # PEFT transposes the sum of base and change by it, never the change itself.
        "fan_in_fan_out",
    }
)
"""Settings by which no number of an adapter is another one."""

_READ = frozenset(
    {
        *("peft_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights", "rank_pattern", "alpha_pattern"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    }
)

_STARTS_OF_ITS_OWN = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Values of `init_lora_weights` that subtract the start of the adapter from the base's weights."""
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The part of `adapter_config.json` by which an adapter is computed."""

    rank: int
    alpha: float
    ranks: Mapping[str, int]
    """Other ranks, by a pattern for the end of a module's name."""
    alphas: Mapping[str, float]
    has_root_scale: bool
    """Scales are alpha / √rank (rsLoRA, arXiv 2312.03732) instead of alpha / rank."""
    targets: str | tuple[str, ...] | None
    """A pattern for whole names of modules, or ends of them; `None`: those that the file has tensors for."""
    excluded: str | tuple[str, ...]
    layers: tuple[int, ...]
    """Numbers of the layers that are changed; empty: all."""
    layers_patterns: tuple[str, ...]
    """Names that the list of layers may have."""

    @property
    def takes_all_projections(self) -> bool:
        """Whether all projections of all layers are changed, and the head is not."""
        return isinstance(self.targets, str) and self.targets.lower() == _ALL_LINEAR

    def changes(self, module_name: str) -> bool:
        """Whether a projection of that name is changed."""
        if self.targets is None or _names(self.excluded, module_name, "exclude_modules"):
            return False
        if self.takes_all_projections:
            return True
        if isinstance(self.targets, str) or module_name in self.targets:  # a whole name holds for any layer
            return _names(self.targets, module_name, "target_modules")
        return _names(self.targets, module_name, "target_modules") and self._is_in_layers(module_name)

    def rank_of(self, module_name: str) -> int:
        """The rank of a module's change."""
        return _first_by_pattern(self.ranks, module_name, "rank_pattern", self.rank)

    def scale_of(self, module_name: str) -> float:
        """The factor of a module's change."""
        alpha = _first_by_pattern(self.alphas, module_name, "alpha_pattern", self.alpha)
        rank = self.rank_of(module_name)
        return alpha / (math.sqrt(rank) if self.has_root_scale else rank)

    def _is_in_layers(self, module_name: str) -> bool:
        if not self.layers:
            return True
        patterns = [rf"(?:^|.*?\.){pattern}\.(\d+)\..*" for pattern in self.layers_patterns]
        for pattern in patterns or [r".*?\.[^.]*\.(\d+)\..*"]:
            match = _matched(pattern, module_name, "layers_pattern")
            if match is not None:
                return int(match[1]) in self.layers
        return False


def parse_adapter_config(raw: Mapping[str, Any]) -> AdapterConfig:
    """Reads an `adapter_config.json`.

    Raises:
        CheckpointError: it is no LoRA, a value is missing or wrong, or asks for something that is not computed.
    """
    _refuse(raw)
    layers = raw.get("layers_to_transform")
    config = AdapterConfig(
        rank=_rank("r", raw.get("r")),
        alpha=_number("lora_alpha", raw.get("lora_alpha")),
        ranks={key: _rank(f"rank_pattern.{key}", value) for key, value in _table(raw, "rank_pattern").items()},
        alphas={key: _number(f"alpha_pattern.{key}", value) for key, value in _table(raw, "alpha_pattern").items()},
        has_root_scale=raw.get("use_rslora") is True,
        targets=None if raw.get("target_modules") is None else _text_or_list(raw, "target_modules"),
        excluded=_text_or_list(raw, "exclude_modules"),
        layers=tuple(
            _index(value) for value in (layers if isinstance(layers, list) else [layers]) if value is not None
        ),
        layers_patterns=_as_tuple(_text_or_list(raw, "layers_pattern")),
    )
    for text in (config.targets, config.excluded):  # a pattern that cannot be read is found here, and not at a name
        if isinstance(text, str):
            _names(text, "", "target_modules")
    return config


def _refuse(raw: Mapping[str, Any]) -> None:
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise _wrong("peft_type", kind, "'LORA': no other kind of adapter is computed")
    for key, why in _REFUSED.items():
        if raw.get(key):
            raise CheckpointError(f"{CONFIG_NAME}: {key}={reprlib.repr(raw[key])} is not supported: {why}")
    if raw.get("bias", "none") != "none":
        raise _wrong("bias", raw["bias"], "'none': biases are not changed")
    _refuse_start(raw.get("init_lora_weights"))
    for key in sorted(raw.keys() - _REFUSED.keys() - _OF_TRAINING - _READ):
        if raw[key]:
            raise CheckpointError(
                f"{CONFIG_NAME}: {key}={reprlib.repr(raw[key])} is not known, so what it does is not computed; remove "
                "the key if it only describes the training"
            )


def _refuse_start(start: Any) -> None:
    """A start that was subtracted from the base leaves another base than the one that is served."""
    if start is None or isinstance(start, bool) or start in _PLAIN_STARTS:
        return
    if str(start).lower().startswith(_STARTS_OF_ITS_OWN):
        raise CheckpointError(
            f"{CONFIG_NAME}: init_lora_weights={start!r} has changed the base's weights; save the adapter with "
            "path_initial_model_for_weight_conversion, which makes an ordinary one of it"
        )
    raise _wrong("init_lora_weights", start, f"true, false or one of {', '.join(_PLAIN_STARTS)}")


def _names(wanted: str | tuple[str, ...], module_name: str, key: str) -> bool:
    """Whether a pattern matches a whole name, or one of several ends it."""
    if isinstance(wanted, str):
        return bool(wanted) and _matched(wanted, module_name, key) is not None
    return any(module_name == end or module_name.endswith(f".{end}") for end in wanted)


def _first_by_pattern(table: Mapping[str, N], module_name: str, key: str, default: N) -> N:
    """The value of the first pattern that matches the end of a name."""
    for pattern, value in table.items():
        if _matched(rf"(.*\.)?({pattern})", module_name, key) is not None:
            return value
    return default


def _matched(pattern: str, text: str, key: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.fullmatch(pattern, text, options)
    except re2.error as error:
        raise CheckpointError(
            f"{CONFIG_NAME}: {key} has the pattern {pattern!r}, which cannot be read: {error}"
        ) from None


def _wrong(key: str, value: Any, expected: str) -> CheckpointError:
    return CheckpointError(f"{CONFIG_NAME}: {key}={reprlib.repr(value)} must be {expected}")


def _rank(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**16:
        raise _wrong(key, value, f"a rank from 1 to {2**16}")
    return value


def _number(key: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e30:
        raise _wrong(key, value, "a number")
    return float(value)


def _index(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong("layers_to_transform", value, "the number of a layer, or a list of them")
    return value


def _table(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        raise _wrong(key, value, "an object from patterns to numbers")
    return value


def _text_or_list(raw: Mapping[str, Any], key: str) -> str | tuple[str, ...]:
    value = raw.get(key) or ()
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise _wrong(key, value, "a text or a list of texts")
    return tuple(value)


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
