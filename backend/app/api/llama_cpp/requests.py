"""The requests of editors' plug-ins, and what the service is asked for them.

They send it at each key, and nobody reads an error there. So what a plug-in cannot know is bent to the bounds of this
server instead of being refused: texts are cut where it matters least, numbers moved to the nearest bound, stop strings
beyond the most that there may be left out, and fields that are not known passed over, which the log says once for each.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from app.api.bodies.biases import Biases
from app.api.bodies.unsupported import FIRST_ONLY, AsksForNothing, Ignored, unsupported
from app.api.errors.table import InvalidBody
from app.api.streams.choices import MAX_CHOICES, seeds_from
from app.core.parameters import PARAMETERS
from app.services.diffusion import DiffusionInfillingParams
from app.services.diffusion.models import MAX_SIDE_CHARACTERS, MAX_STOP_CHARACTERS, MAX_STOP_STRINGS
from app.text.line_ends import LineEnds

NAMES = {
    "constraint": "json_schema",
    "constraint.json_schema": "json_schema",
    "max_length": "n_predict",
    "prefix": "input_prefix",
    "suffix": "input_suffix",
}
"""Fields of the service, with their names here."""


MAX_SNIPPETS = MAX_SIDE_CHARACTERS // 2
"""The snippets that there can be room for: each stands with two line ends behind it."""


def _nearest_snippets(given: Any) -> Any:
    """The snippets that may have room, nearest to the gap, before anybody looks at the others."""
    return given[-MAX_SNIPPETS:] if isinstance(given, list) else given


class Snippet(AsksForNothing):
    """Text from elsewhere in the project."""

    model_config = ConfigDict(extra="ignore", strict=True)

    text: str = ""
    filename: Annotated[Any, Ignored()] = None


class InfillRequest(AsksForNothing):
    """Fills the gap between `input_prefix` + `prompt` and `input_suffix`."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    input_prefix: str = ""
    input_suffix: str = ""
    input_extra: Annotated[list[Snippet], FIRST_ONLY, BeforeValidator(_nearest_snippets)] = Field(
        [], description="Stands before the prefix, as far as there is room for it."
    )
    prompt: str = Field("", description="What was typed behind the prefix.")
    model: str | None = Field(None, max_length=200, description="Default: the configured model.")
    n_predict: int | None = Field(None, description="New tokens at most; 0: none, below 0: the configured number.")
    n_cmpl: int | None = Field(None, description="Answers, 8 at most; more than one come as a list.")
    t_max_predict_ms: int | None = Field(
        None, description="Once there is a line, what takes longer than this since the first text is left out."
    )
    temperature: float | None = None
    top_k: int | None = Field(None, description="0: the most that this server has.")
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Biases | None = Field(
        None,
        description="Added to tokens' logits: a list of pairs, an id or a text and a bias or `false`, which bans; or "
        "an object of ids, -100 to 100; 300 tokens.",
    )
    seed: int | None = Field(None, description="Below 0: the server chooses.")
    stop: str | Annotated[list[str], FIRST_ONLY] | None = Field(
        None, description="Text before which the answer ends: the first 16 of them that have up to 200 characters."
    )
    stream: bool | None = None
    response_fields: Annotated[list[str], FIRST_ONLY] | None = Field(
        None,
        description="Paths such as `timings/predicted_ms`; all else is left out of the answer, or of a stream's last "
        "chunk.",
    )
    json_schema: dict[str, Any] | bool | None = Field(
        None, description="The answer is JSON that is valid by it; `{}` is any JSON."
    )
    grammar: Annotated[Any, unsupported("grammar")] = None
    samplers: Annotated[Any, Ignored()] = None
    cache_prompt: Annotated[Any, Ignored()] = None
    id_slot: Annotated[Any, Ignored()] = None
    n_indent: Annotated[Any, Ignored()] = None
    t_max_prompt_ms: Annotated[Any, Ignored()] = None

    @property
    def unknown_fields(self) -> list[str]:
        """The names of fields that were sent and are not read."""
        return list(self.model_extra or ())

    @property
    def num_answers(self) -> int:
        return min(max(self.n_cmpl or 1, 1), MAX_CHOICES)

    @property
    def stop_strings(self) -> list[str]:
        """The stop strings that this server can take."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [stop for stop in given if 0 < len(stop) <= MAX_STOP_CHARACTERS][:MAX_STOP_STRINGS]

    @cached_property
    def prefix(self) -> str:
        """The text before the gap, cut to the part nearest to it."""
        extra = "".join(f"{snippet.text}\n\n" for snippet in self.input_extra)
        # The line ends of the answer are those of the file.
        line_ends = LineEnds.around(self._own_prefix, self.input_suffix)
        return (line_ends.written(extra) + self._own_prefix)[-MAX_SIDE_CHARACTERS:]

    @property
    def suffix(self) -> str:
        return self.input_suffix[:MAX_SIDE_CHARACTERS]

    @property
    def is_cut(self) -> bool:
        """Whether a part of the file itself was left out."""
        return max(len(self._own_prefix), len(self.input_suffix)) > MAX_SIDE_CHARACTERS

    @property
    def _own_prefix(self) -> str:
        return self.input_prefix + self.prompt

    @property
    def wants_text(self) -> bool:
        """Whether there is anything to write, and anything to go by: plug-ins also ask to warm a cache up."""
        return self.n_predict != 0 and bool(self.prefix or self.suffix)

    def params(self, max_length: int) -> list[DiffusionInfillingParams]:
        """One request to the service per answer. Raises InvalidBody for a constraint that cannot be."""
        given: dict[str, Any] = {
            "model_id": self.model or None,
            "max_length": min(self.n_predict, max_length) if self.n_predict and self.n_predict > 0 else None,
            "temperature": _nearest("temperature", self.temperature),
            "top_k": _nearest("top_k", math.inf if self.top_k is not None and self.top_k < 1 else self.top_k),
            "top_p": _nearest("top_p", self.top_p),
            "min_p": _nearest("min_p", self.min_p),
            "repetition_penalty": _nearest("repetition_penalty", self.repeat_penalty),
            "frequency_penalty": _nearest("frequency_penalty", self.frequency_penalty),
            "presence_penalty": _nearest("presence_penalty", self.presence_penalty),
            "logit_bias": self.logit_bias or None,
            "stop": self.stop_strings or None,
            "constraint": None if self.json_schema is None else {"json_schema": self.json_schema},
        }
        given = {name: value for name, value in given.items() if value is not None}
        first_seed = None if self.seed is None or self.seed < 0 else self.seed
        given |= {"prefix": self.prefix, "suffix": self.suffix}
        try:
            return [DiffusionInfillingParams(seed=seed, **given) for seed in seeds_from(first_seed, self.num_answers)]
        except ValidationError as error:
            raise InvalidBody.of(error, given, NAMES) from None


def _nearest(name: str, value: float | None) -> float | None:
    return None if value is None else PARAMETERS[name].nearest(value)
