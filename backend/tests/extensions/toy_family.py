"""A family that is not part of the program: a network, a sampler, and what both halves of the program know of it.

In the program each part has a file of its own: `engine/models/`, `engine/decoding/`, `engine/families/` and
`services/diffusion/families/`. It writes strictly from left to right, and sees no text behind its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.step import Prediction, Sampler, StepPlan, write
from app.engine.families.base import Family
from app.engine.families.span import FixedSpan
from app.engine.interface.params import DecodingParams
from app.engine.models.attention import PackedAttention
from app.engine.models.base import FamilyModel, Layer, LayerParts, ModelConfig, Stack
from app.engine.models.fields import ConfigFields
from app.engine.models.layers import Embedding, Linear, RMSNorm, Rotary, chosen, swiglu
from app.services.diffusion.families.base import TextFamily

# -- its network -------------------------------------------------------------------------------------------------------


def parse_config(raw: Mapping[str, Any], family: str) -> ModelConfig:
    fields = ConfigFields(raw)
    end = fields.integer("end")
    return ModelConfig(
        family=family,
        vocab_size=fields.integer("vocabulary"),
        width=fields.integer("width"),
        num_layers=fields.integer("depth"),
        num_heads=2,
        num_kv_heads=2,
        head_dim=fields.integer("width") // 2,
        mlp_width=2 * fields.integer("width"),
        context_length=64,
        rope_theta=1e4,
        norm_eps=1e-6,
        tied=True,
        special=SpecialIds(mask=fields.integer("mask"), eos=end, pad=end),
        prediction_shift=0,
    )


class ToyLayer(Layer):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.head_dim = config.width, config.head_dim
        self.norms = nn.ModuleList(RMSNorm(width, config.norm_eps) for _ in range(2))
        self.inner = nn.ModuleList(Linear(width, width, bias=False) for _ in range(4))
        self.outer = nn.ModuleList(
            Linear(*shape, bias=False) for shape in ((width, config.mlp_width),) * 2 + ((config.mlp_width, width),)
        )

    def forward(self, x: Tensor, attention: PackedAttention, rows: Tensor | None = None) -> Tensor:
        parts = self.parts()
        normed = parts.attention_norm(x)
        q, k, v = (part(normed).unflatten(-1, (-1, self.head_dim)) for part in (parts.q, parts.k, parts.v))  # [N, H, D]
        x = chosen(x, rows) + parts.out(chosen(attention(q, k, v), rows))
        normed = parts.mlp_norm(x)
        return x + cast(Tensor, parts.down(swiglu(parts.gate(normed), parts.up(normed))))

    def parts(self) -> LayerParts:
        attention_norm, mlp_norm = cast(Sequence[RMSNorm], self.norms)
        q, k, v, out = cast(Sequence[Linear], self.inner)
        gate, up, down = cast(Sequence[Linear], self.outer)
        return LayerParts(attention_norm, q, k, v, out, mlp_norm, gate, up, down)


class Toy(FamilyModel):
    EMBEDDING_NAME = "tokens.weight"
    HEAD_NAME = "head.weight"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(ToyLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.rotary = Rotary(config.head_dim, config.rope_theta)

    def stack(self) -> Stack:
        return Stack(self.tokens, cast(Sequence[Layer], self.layers), self.norm, self.tokens.weight)


# -- its sampler -------------------------------------------------------------------------------------------------------


class SequentialSampler(Sampler):
    """Commits the first open positions of each step, `transfers_per_step` of them (SDAR's `sequential`)."""

    ALGORITHMS = ("sequential",)

    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        self._count = params.transfers_per_step
        banned = (special.mask,)
        temperature, top_p, top_k = params.temperature, params.top_p, params.top_k
        self._rules = LogitRules(Score.PROBABILITY, temperature, top_p, top_k, scores_see_filters=True, banned=banned)

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        positions = tuple(canvas.masked()[: self._count])
        return StepPlan(positions, self._rules) if positions else None

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        return write(canvas, plan, predicted, range(len(plan.positions)))


# -- what the program knows of it --------------------------------------------------------------------------------------

TOY = Family(
    name="toy",
    published_names=("Toy", "ToyForDiffusion"),
    parse_config=parse_config,
    build=Toy,
    sampler=SequentialSampler,
    span=FixedSpan(),
    parameters=frozenset({"transfers_per_step"}),
    infills=False,
)

TOY_TEXT = TextFamily(name="toy", max_length=32, always_begins=False, ends_infillings=False, infills=False, presets={})
