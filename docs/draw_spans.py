"""Draws the positions that llada's steps compute and those that they read from the cache: `python docs/draw_spans.py`.

No model runs: the engine's own sampler plans the positions to compute, and gets random scores.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.special import SpecialIds
from app.engine.decoding.step import Prediction
from app.engine.families.registry import family_named
from app.engine.interface.params import DecodingParams

TARGET = Path(__file__).parent / "images" / "spans.svg"

NUM_GIVEN, NUM_NEW, BLOCK_LENGTH = 8, 12, 4
MASK_ID, TOKEN_ID = 0, 1

CELL, GAP, MARGIN = 12, 2, 14
INK, PAPER, FAINT = "#e6edf3", "#0d1117", "#8b949e"
COLOURS = {
    ("cached", "token"): "#21262d",
    ("cached", "mask"): "#30363d",
    ("computed", "token"): "#1f6feb",
    ("computed", "mask"): "#58a6ff",
    ("computed", "committed"): "#2ea043",
}

decoded = partial(DecodingParams, max_new_tokens=NUM_NEW, block_length=BLOCK_LENGTH)
PANELS = {
    "cache: prefix": decoded(cache="prefix"),
    "cache: dual": decoded(cache="dual"),
    "cache: dual, cache_refresh: 3": decoded(cache="dual", cache_refresh=3),
}


def rows(params: DecodingParams) -> list[list[tuple[str, str]]]:
    """The state of each position in each step, computed or cached, and its text afterwards."""
    rng = np.random.default_rng(4)
    canvas = Canvas([TOKEN_ID] * NUM_GIVEN, NUM_NEW, [], MASK_ID)
    sampler = family_named("llada").sampler(canvas, params, SpecialIds(mask=MASK_ID, eos=2, pad=2))
    drawn = []
    while plan := sampler.plan(canvas, rng):
        scores = rng.random(len(plan.positions)).tolist()
        edits = sampler.apply(canvas, plan, Prediction([TOKEN_ID] * len(scores), scores, scores), rng)
        committed = {position for position, _, _ in edits.committed}
        start, end = (plan.span and plan.span.bounds) or (0, len(canvas))
        drawn.append(
            [
                (
                    "computed" if start <= position < end else "cached",
                    "committed" if position in committed else "mask" if token_id == MASK_ID else "token",
                )
                for position, token_id in enumerate(canvas.ids)
            ]
        )
    return drawn


def panel(heading: str, params: DecodingParams, x: float) -> str:
    parts = [_text(x, MARGIN + 12, heading, INK)]
    drawn = rows(params)
    for step, row in enumerate(drawn):
        y = MARGIN + 24 + step * (CELL + GAP)
        for position, cell in enumerate(row):
            place = f'x="{_place(position) + x:.0f}" y="{y:.0f}" width="{CELL}" height="{CELL}"'
            parts.append(f'<rect {place} rx="2" fill="{COLOURS[cell]}"/>')
    num_computed = sum(kind == "computed" for row in drawn for kind, _ in row)
    foot = MARGIN + 24 + len(drawn) * (CELL + GAP) + 14
    parts.append(_text(x, foot, f"{len(drawn)} steps, {num_computed} positions computed", FAINT))
    return "".join(parts)


def draw() -> str:
    panel_width = _place(NUM_GIVEN + NUM_NEW) + 3 * MARGIN
    width = MARGIN + len(PANELS) * panel_width
    height = MARGIN + 24 + NUM_NEW * (CELL + GAP) + 14 + MARGIN
    size = f'width="{width:.0f}" height="{height:.0f}"'
    style = 'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12.5" xml:space="preserve"'
    panels = [
        panel(heading, params, MARGIN + index * panel_width) for index, (heading, params) in enumerate(PANELS.items())
    ]
    body = "\n".join([f'<rect {size} rx="8" fill="{PAPER}"/>', *panels])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{body}\n</svg>\n'


def _place(position: int) -> float:
    """The left edge of a position, with space after the prompt and between blocks."""
    num_blocks_before = max(0, (position - NUM_GIVEN) // BLOCK_LENGTH + 1)
    return position * (CELL + GAP) + num_blocks_before * 2 * GAP


def _text(x: float, y: float, text: str, fill: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{fill}">{text}</text>'


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
