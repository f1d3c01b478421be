"""Positions, as a `config.json` describes them: rotary base, context length, and every way to ask for others.

Releases spell these settings in many ways, and a network that rotates by another base answers with plausible nonsense.
So every key whose name speaks of positions is either understood here, asks for nothing, or is refused by its name.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from app.engine.interface.errors import CheckpointError
from app.engine.models.fields import ConfigFields

DEFAULT_THETA = 10000.0
"""The base that the published classes of both families take where a config has none."""

_THETAS = ("rope_theta", "rotary_base", "rotary_emb_base", "rotary_embedding_base", "rope_base", "rope_freq_base")
_LENGTHS = ("max_position_embeddings", "max_sequence_length", "n_positions", "max_positions")
_ROPE_DICTS = ("rope_scaling", "rope_parameters")
_ROPE_TYPES = ("rope_type", "type")
_SHARES = ("partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_percent", "rope_percent", "rotary_emb_fraction")
_DIMENSIONS = ("rotary_dim", "rotary_ndims", "rotary_emb_dim", "rope_dim")
_FACTORS = ("rope_ratio", "rope_scale", "rope_factor", "rope_scaling_factor", "rotary_scaling_factor")
_FACTORS_OF_A_TYPE = ("factor", "attention_factor", "mscale")
_SWITCHES = ("rope", "use_rope", "rotary", "use_rotary", "use_rotary_embeddings", "use_rotary_position_embeddings")
_KINDS = ("position_embedding_type", "position_encoding_type", "positional_encoding", "position_embedding", "pos_emb")
_ROTARY_KINDS = ("rope", "rotary", "rotary_embedding", "rotary_embeddings", "rotary_position_embedding")
_IMPLEMENTATIONS = ("default", "eager", "hf", "torch", "native")
_FULL = "full_attention"
_OTHER_ATTENTION = ("sliding_attention", "chunked_attention", "linear_attention")

_WORDS = re.compile(
    r"^(\w*rope|rotary|alibi|positions?|positional|pos|\w*windows?|windowed|yarn|ntk|logn|xpos|sliding)$"
)
Number = TypeVar("Number", int, float)

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Positions:
    """The only positions that are computed: rotary embeddings of one base over all of a head."""

    theta: float
    context_length: int


@dataclass(frozen=True, slots=True)
class PositionDefaults:
    """The values that the published classes of a family take for granted."""

    family: str
    """The family's name in messages."""
    context_length: int
    window_needs_switch: bool
    """`sliding_window` means nothing unless `use_sliding_window` is set."""


def read_positions(raw: Mapping[str, Any], defaults: PositionDefaults, *, num_layers: int, head_dim: int) -> Positions:
    """The position settings of a config, whatever spelling they have.

    Raises:
        CheckpointError: two spellings contradict each other, or a key asks for positions that are not computed.
    """
    reader = _Reader(raw, defaults, head_dim)
    length = reader.context_length()
    reader.check_layer_types(num_layers)
    reader.check_window(length)
    thetas = dict(reader.thetas(length))
    reader.refuse_the_rest(length)
    return Positions(_agreed(thetas, DEFAULT_THETA), length)


class _Reader:
    """One config on its way through the rules."""

    def __init__(self, raw: Mapping[str, Any], defaults: PositionDefaults, head_dim: int) -> None:
        self._raw = raw
        self._defaults = defaults
        self._head_dim = head_dim

    def context_length(self) -> int:
        fields = ConfigFields(self._raw)
        given = {name: fields.integer_or_none(name) for name in _LENGTHS}
        return _agreed({name: n for name, n in given.items() if n is not None}, self._defaults.context_length)

    def thetas(self, length: int) -> Iterator[tuple[str, float]]:
        """Every base that the config gives, by the name of its key."""
        yield from _numbers(self._raw, _THETAS)
        for name in _ROPE_DICTS:
            for path, settings in self._flat(name):
                yield from _numbers(settings, _THETAS, path)
                self._check_rope_dict(name, settings, length)

    def _flat(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The settings under a key; of those given per kind of attention, the ones of full attention."""
        value = _as_settings(self._raw.get(name))
        # No layer has another kind of attention, so what is said of one has no effect.
        nested = {key for key in (_FULL, *_OTHER_ATTENTION) if isinstance(value.get(key), dict | None) and key in value}
        yield name, {key: inner for key, inner in value.items() if key not in nested}
        if nested and _FULL not in nested:
            self._refuse(name, value, f"it says nothing of {_FULL}, which is what every layer computes")
        yield f"{name}.{_FULL}", _as_settings(value.get(_FULL))

    def _check_rope_dict(self, name: str, settings: Mapping[str, Any], length: int) -> None:
        kinds = [settings[key] for key in _ROPE_TYPES if settings.get(key) is not None]
        for kind in kinds:
            if str(kind).lower() != "default":
                self._refuse(name, self._raw[name], f"positions of type {kind!r} are not computed")
        for key, value in settings.items():
            if key in (*_ROPE_TYPES, *_THETAS) or (key in _FACTORS_OF_A_TYPE and _is_number(value, 1)):
                continue
            if not self._is_plain(key, value, length):
                given = reprlib.repr(value)
                self._refuse(name, self._raw[name], f"{key}={given} asks for positions that are not computed")

    def check_layer_types(self, num_layers: int) -> None:
        kinds = self._raw.get("layer_types")
        is_full = isinstance(kinds, list) and len(kinds) == num_layers and all(kind == _FULL for kind in kinds)
        if kinds is not None and not is_full:
            self._refuse("layer_types", kinds, f"expected {_FULL!r} for each of the {num_layers} layers")

    def check_window(self, length: int) -> None:
        """A window as wide as the context hides nothing."""
        switch, window = self._raw.get("use_sliding_window"), self._raw.get("sliding_window")
        if switch not in (None, False, True):
            self._refuse("use_sliding_window", switch, "expected true or false")
        is_on = not self._defaults.window_needs_switch if switch is None else switch
        asks_for_none = window is None and ("sliding_window" in self._raw or switch is None)
        if not is_on or asks_for_none:
            return
        if not isinstance(window, int) or window is True or window < length:
            key = "sliding_window" if switch is None else "use_sliding_window"
            self._refuse(key, self._raw[key], "every token attends to the whole context")

    def refuse_the_rest(self, length: int) -> None:
        known = {*_THETAS, *_LENGTHS, *_ROPE_DICTS, "sliding_window", "use_sliding_window", "layer_types"}
        for path, key, value in _entries(self._raw):
            is_read = path == key and key in known
            if not is_read and _is_about_positions(key) and not self._is_plain(key, value, length):
                self._refuse(path, value, "it asks for positions that are not computed")

    def _is_plain(self, key: str, value: Any, length: int) -> bool:
        """Whether a value comes to what is computed anyway."""
        if key in _SWITCHES:
            return value in (None, True)
        return _asks_for_nothing(value) or _PLAIN.get(key, _never)(value, self._head_dim, length)

    def _refuse(self, key: str, value: Any, reason: str) -> None:
        given = reprlib.repr(value)
        raise CheckpointError(f"config.json: {key}={given} is not supported for {self._defaults.family}: {reason}")


_Rule = Callable[[Any, int, int], bool]
"""Value, dimensions of a head and context length -> whether nothing else is asked for than what is computed."""


def _never(value: Any, head_dim: int, length: int) -> bool:
    return False


def _each(names: tuple[str, ...], rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(names, rule)


_PLAIN: dict[str, _Rule] = {
    **_each((*_SHARES, *_FACTORS), lambda value, head_dim, length: _is_number(value, 1)),
    **_each(_DIMENSIONS, lambda value, head_dim, length: _is_number(value, head_dim)),
    **_each(_KINDS, lambda value, head_dim, length: str(value).lower() in _ROTARY_KINDS),
    "original_max_position_embeddings": lambda value, head_dim, length: _is_number(value, length),
    # Where a window would begin, if there were one.
    "max_window_layers": lambda value, head_dim, length: _is_integer(value),
    # The slope of a bias that is switched off.
    "alibi_bias_max": lambda value, head_dim, length: not isinstance(value, bool) and isinstance(value, int | float),
    # Angles and rotations are computed in float32 either way: a matter of rounding, in the half types alone.
    "rope_full_precision": lambda value, head_dim, length: isinstance(value, bool),
    "rope_impl": lambda value, head_dim, length: value in _IMPLEMENTATIONS,
}


def _as_settings(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    return {} if _asks_for_nothing(value) else {"type": value}


def _is_about_positions(key: str) -> bool:
    return any(_WORDS.match(word) for word in _HUMP.sub("_", key).lower().split("_"))


def _asks_for_nothing(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def _is_number(value: Any, expected: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == expected


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _entries(raw: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every key with where it stands and its value, those inside other settings too."""
    for key, value in raw.items():
        here = f"{path}{key}"
        if isinstance(value, dict) and here not in _ROPE_DICTS:
            yield from _entries(value, f"{here}.")
        yield here, key, value


def _numbers(settings: Mapping[str, Any], names: tuple[str, ...], path: str = "") -> Iterator[tuple[str, float]]:
    fields = ConfigFields(settings)
    for name in names:
        if settings.get(name) is not None:
            yield f"{path}.{name}".lstrip("."), fields.positive_number(name, DEFAULT_THETA)


def _agreed(given: Mapping[str, Number], default: Number) -> Number:
    """The one value that all spellings have."""
    if len(set(given.values())) > 1:
        spellings = " and ".join(f"{name}={value}" for name, value in given.items())
        raise CheckpointError(
            f"config.json: {spellings} contradict each other; keep what the weights were trained with"
        )
    return next(iter(given.values()), default)
