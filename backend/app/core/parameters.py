"""The parameters of a request besides its text, one row each.

A row gives the name, the type and, as a `Parameter`, everything else about the parameter. The rows make the bounds of
wire models and settings, the bounds that a model reports, the client's types, the options of the command line, the
clamps of other servers' APIs and the table in docs/decoding.md. Static types need two more classes in full: the
engine's `DecodingParams` and the wire model. A test names the row and the class that disagree.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal, TypedDict, get_args, get_type_hints

from pydantic import Field

DecodingName = Literal["exact", "balanced", "fast"]
CacheName = Literal["none", "prefix", "dual"]
StreamMode = Literal["text", "canvas"]

MAX_NEW_TOKENS = 2048
"""The bound of any model; one may have a lower bound of its own."""
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """The properties of a parameter besides its name and its type."""

    description: str = ""
    _: KW_ONLY
    ge: float | None = None
    """The least value of a number; `None` where `gt` bounds it, and of what is no number."""
    gt: float | None = None
    """The bound that every value of a number must exceed."""
    le: float | None = None
    """The greatest value of a number."""
    characters: int | None = None
    """The length of a text at most; it is not empty."""
    default: float | str | None = None
    """The default of the setting of the same name, which decides where a request says nothing. `None`: there is no such
    setting, and it is up to the model."""
    engine_name: str = ""
    """The engine's word for it, where that is another one."""

    @property
    def least(self) -> float:
        """The lower bound of a number that has one."""
        least = self.gt if self.ge is None else self.ge
        assert least is not None
        return least

    @property
    def greatest(self) -> float:
        """The upper bound of a number that has one."""
        assert self.le is not None
        return self.le

    def nearest(self, value: float) -> float:
        """The allowed value that is nearest to a number."""
        return min(max(value, self.least), self.greatest)


class DecodingParameters(TypedDict, total=False):
    """The rows that reach the engine."""

    max_length: Annotated[
        int,
        Parameter(
            "New tokens at most: up to 2048 with dreamon, 1024 with llada.",
            ge=1,
            le=MAX_NEW_TOKENS,
            default=512,
            engine_name="max_new_tokens",
        ),
    ]
    temperature: Annotated[float, Parameter("0 is greedy and deterministic.", ge=0.0, le=2.0, default=0.7)]
    top_p: Annotated[
        float, Parameter("The most probable tokens that reach this probability; 1 is all.", ge=0.1, le=1.0, default=0.9)
    ]
    top_k: Annotated[int, Parameter("The most probable tokens, at most so many.", ge=1, le=100, default=50)]
    min_p: Annotated[
        float, Parameter("Only tokens at least so probable, beside the most probable one; 0 is all.", ge=0.0, le=1.0)
    ]
    repetition_penalty: Annotated[
        float, Parameter("Makes tokens that are in the text less probable; 1 is none.", ge=1.0, le=2.0, default=1.1)
    ]
    frequency_penalty: Annotated[
        float, Parameter("Taken from a token's logit for each time that it is in the new text.", ge=-2.0, le=2.0)
    ]
    presence_penalty: Annotated[
        float, Parameter("Taken from a token's logit where it is in the new text.", ge=-2.0, le=2.0)
    ]
    no_repeat_ngram_size: Annotated[
        int, Parameter("No token that would write a run of so many tokens once more; 0 is none.", ge=0, le=32)
    ]
    logit_bias: Annotated[
        dict[int, float], Parameter("Added to tokens' logits, by their ids: -100, which bans one, to 100; 300 of them.")
    ]
    seed: Annotated[int, Parameter("Fixes the output; chosen and reported if absent.", ge=0, le=MAX_SEED)]
    steps: Annotated[int, Parameter("Denoising steps at most; default one per new token.", ge=1, le=4096)]
    block_length: Annotated[
        int,
        Parameter(
            "Masks denoised together, left to right; more where there would be more blocks than steps. Block-causal "
            "models: positions that see each other; default the checkpoint's.",
            ge=1,
            le=MAX_NEW_TOKENS,
        ),
    ]
    steps_per_block: Annotated[
        int, Parameter("Denoising steps of each block, instead of `steps`; default one per position.", ge=1, le=4096)
    ]
    sub_block_length: Annotated[
        int, Parameter("Fast-dLLM v2: positions of a block denoised together; default 8.", ge=1, le=MAX_NEW_TOKENS)
    ]
    algorithm: Annotated[str, Parameter("How positions are chosen.", characters=40)]
    alg_temp: Annotated[float, Parameter("Randomness in choosing positions.", ge=0.0, le=10.0)]
    confidence_threshold: Annotated[float, Parameter("Commit everything at least so sure.", gt=0.0, le=1.0)]
    confidence_factor: Annotated[
        float, Parameter("Commit the n most confident while (n + 1)(1 - the n-th) is below it.", gt=0.0, le=100.0)
    ]
    confidence_margin: Annotated[
        float, Parameter("Commit the n most confident while all of them together lead by more than it.", ge=0.0, le=1.0)
    ]
    entropy_bound: Annotated[
        float, Parameter("Commit the most confident whose entropy adds up to at most so many nats.", ge=0.0, le=100.0)
    ]
    local_threshold: Annotated[
        float, Parameter("With confidence_threshold: enough beside a position that reaches it.", gt=0.0, le=1.0)
    ]
    stability_bound: Annotated[
        float, Parameter("With confidence_threshold: commit where predictions moved by fewer nats.", gt=0.0, le=100.0)
    ]
    revoke_threshold: Annotated[
        float, Parameter("With confidence_threshold: take back commits that turn out less sure.", gt=0.0, le=1.0)
    ]
    cfg_scale: Annotated[float, Parameter("Classifier-free guidance.", ge=0.0, le=10.0)]
    initial_masks: Annotated[int, Parameter("DreamOn's starting canvas.", ge=1, le=MAX_NEW_TOKENS)]
    cache: Annotated[
        CacheName,
        Parameter("What is kept from step to step instead of being computed anew; default as `decoding` says."),
    ]
    cache_refresh: Annotated[
        int, Parameter("Compute everything anew every so many blocks (llada) or steps (dreamon).", ge=1, le=4096)
    ]


class ConstraintBody(TypedDict, total=False):
    """A constraint as JSON: exactly one of the three."""

    json_schema: dict[str, Any] | bool
    regex: str
    choices: list[str]


class Parameters(DecodingParameters, total=False):
    """The parameters of a request besides its text; those left out take the server's default."""

    model_id: Annotated[str, Parameter("Which model answers.", characters=200)]
    decoding: Annotated[
        DecodingName,
        Parameter("exact is the published sampler; the others approximate it, for speed.", default="exact"),
    ]
    stop: Annotated[str | list[str], Parameter("Text before which the answer ends.")]
    ignore_eos: Annotated[bool, Parameter("Write on up to `max_length`, for measurements; without effect on DreamOn.")]
    logprobs: Annotated[int, Parameter("Tell each token's log-probability, and so many alternatives.", ge=0, le=20)]
    stream_mode: Annotated[StreamMode, Parameter("canvas adds step events.")]
    constraint: Annotated[ConstraintBody, Parameter("What the answer has to be: valid by a schema, say.")]


def rows_of(parameters: type) -> dict[str, Parameter]:
    """The row of each parameter that a class of them lists."""
    hints = get_type_hints(parameters, include_extras=True)
    return {name: row for name, hint in hints.items() for row in get_args(hint) if isinstance(row, Parameter)}


PARAMETERS = rows_of(Parameters)
TYPES: dict[str, Any] = get_type_hints(Parameters)
"""The type of each parameter's values, or the words that are allowed."""
ENGINE_NAMES = {name: row.engine_name or name for name, row in rows_of(DecodingParameters).items()}
"""The parameters that reach the engine, and what they are called there."""


def field_of(name: str, default: Any = None, description: str | None = None) -> Any:
    """The field of a Pydantic model that holds a parameter: the bounds of its row and, where no other is given, its
    description."""
    row = PARAMETERS[name]
    return Field(
        default,
        description=description or row.description or None,
        ge=row.ge,
        gt=row.gt,
        le=row.le,
        min_length=None if row.characters is None else 1,
        max_length=row.characters,
    )
