"""Generation in the harness's words and in the server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reynard_diffusion.lm_eval.limits import MAX_STOP_STRINGS
from reynard_diffusion.parameters import Parameters

OWN_WORDS = {"until", "max_gen_toks", "do_sample", "temperature"}
"""The harness's words that have others here, or a meaning of their own."""
SHARED_WORDS = Parameters.__optional_keys__ - {"max_length", "stop", "model_id"}
"""The words that mean the same on both sides. `max_length` does not: elsewhere the prompt is part of it."""


def parameters_of(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request for the harness's `gen_kwargs`, normalised; greedy and without a penalty where those
    say nothing."""
    shared = {name: value for name, value in kwargs.items() if name in SHARED_WORDS}
    stop = [text for text in kwargs["until"] if text][:MAX_STOP_STRINGS]
    greedy = {"temperature": 0.0, "repetition_penalty": 1.0}
    return {**greedy, **shared, "max_length": kwargs["max_gen_toks"], **({"stop": stop} if stop else {})}


def foreign_words(kwargs: Mapping[str, Any]) -> list[str]:
    """The names in `gen_kwargs` that mean nothing to this server."""
    return sorted(kwargs.keys() - SHARED_WORDS - OWN_WORDS)


def ended(text: str, until: Sequence[str]) -> str:
    """The text before the first of the strings that end it; the server sees no more than `MAX_STOP_STRINGS`."""
    return min((text.partition(end)[0] for end in until if end), key=len, default=text)
