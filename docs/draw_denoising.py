"""Draws a canvas as it denoises, from a running server: `python docs/draw_denoising.py > docs/images/denoising.svg`.

The program needs only the standard library. Grey cells are masks; a token is coloured by the confidence with which it
was committed. The pictures of blocks and of deletions in docs/decoding.md:

    python docs/draw_denoising.py --model llada --text "Once upon a time, there was a little" --max-length 16 \
        --block-length 8 --rows 16
    python docs/draw_denoising.py --prefix $'with open(path) as ' --suffix $'\n    return file.read()\n' \
        --initial-masks 8
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Sequence
from html import escape
from typing import Any

CELL_HEIGHT, CHARACTER_WIDTH, GAP, MARGIN = 22, 7.6, 3, 14
INK, PAPER, MASK = "#e6edf3", "#0d1117", "#30363d"


def steps(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The `data` of all step events of one generation or infilling."""
    request = urllib.request.Request(
        f"{url}/api/diffusion/{'generate' if 'text' in body else 'infill'}/stream",
        data=json.dumps({**body, "stream_mode": "canvas"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        events = [json.loads(line) for line in response]
    return [event["data"] for event in events if event["type"] == "step"]


def chosen(all_steps: Sequence[dict[str, Any]], num_rows: int) -> list[dict[str, Any]]:
    """The `num_rows` steps to draw, evenly spaced from first to last."""
    last = len(all_steps) - 1
    indices = sorted({round(row * last / (num_rows - 1)) for row in range(num_rows)})
    return [all_steps[index] for index in indices]


def confidence_of(all_steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The confidence with which each piece of text was committed; for repeated pieces the last one counts."""
    return {commit["text"]: commit["confidence"] for step in all_steps for commit in step["committed"]}


def colour(confidence: float) -> str:
    """The colour of a confidence, from amber (0) to green (1)."""
    hue = 35 + 105 * max(0.0, min(confidence, 1.0))
    return f"hsl({hue:.0f} 55% 32%)"


def draw(all_steps: Sequence[dict[str, Any]], heading: str, num_rows: int, block_length: int | None) -> str:
    """The picture with one row per step, and space between blocks."""
    sure = confidence_of(all_steps)
    rows, width, y = [], MARGIN + len(heading) * CHARACTER_WIDTH, MARGIN + 30.0
    for step in chosen(all_steps, num_rows):
        cells, x = [_text(MARGIN, y + 15, f"step {step['step']:>3}", "#8b949e")], MARGIN + 80.0
        for index, piece in enumerate(step["canvas"]):
            if block_length and index % block_length == 0:
                x += 3 * GAP
            shown = "    " if piece is None else piece.replace("\n", "⏎").replace(" ", "·")
            cell_width = max(len(shown), 2) * CHARACTER_WIDTH + 8
            fill = MASK if piece is None else colour(sure.get(piece, 0.5))
            place = f'x="{x:.0f}" y="{y:.0f}" width="{cell_width:.0f}" height="{CELL_HEIGHT}"'
            cells.append(f'<rect {place} rx="4" fill="{fill}"/>')
            if piece is not None:
                cells.append(_text(x + 4, y + 15, shown, INK))
            x += cell_width + GAP
        moves = [name for name in ("expanded", "deleted") if step[name]]
        cells.append(_text(x + 8, y + 15, " ".join(moves), "#8b949e"))
        rows.append("".join(cells))
        width, y = max(width, x + 80), y + CELL_HEIGHT + 6
    size = f'width="{width + MARGIN:.0f}" height="{y + MARGIN:.0f}"'
    style = 'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12.5" xml:space="preserve"'
    first = [f'<rect {size} rx="8" fill="{PAPER}"/>', _text(MARGIN, MARGIN + 12, heading, INK)]
    body = "\n".join([*first, *rows])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{body}\n</svg>\n'


def _text(x: float, y: float, text: str, fill: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{fill}">{escape(text)}</text>'


def asked(options: argparse.Namespace) -> dict[str, Any]:
    """The request's body."""
    given = {"text": options.text} if options.text else {"prefix": options.prefix, "suffix": options.suffix}
    chosen = {
        "model_id": options.model,
        "max_length": options.max_length,
        "temperature": 0.0,
        "repetition_penalty": options.repetition_penalty,
        "initial_masks": options.initial_masks if options.model == "dreamon" else None,
        "block_length": options.block_length,
    }
    return given | {name: value for name, value in chosen.items() if value is not None}


def title(options: argparse.Namespace) -> str:
    """The title, with the words around the gap."""
    before = " ".join((options.text or options.prefix).split()[-6:])
    after = "" if options.text else " ".join(options.suffix.split()[:6])
    return f"… {before}  ▢  {after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument(
        "--prefix",
        default="def __init__(self, name, value):\n    self.name = name\n    ",
    )
    parser.add_argument("--suffix", default="\n    self._items = []\n")
    parser.add_argument("--text", help="to continue, instead of a gap between prefix and suffix")
    parser.add_argument("--model", default="dreamon")
    parser.add_argument("--max-length", type=int, default=24)
    parser.add_argument("--initial-masks", type=int, default=3)
    parser.add_argument("--block-length", type=int)
    parser.add_argument("--repetition-penalty", type=float)
    parser.add_argument("--rows", type=int, default=8)
    options = parser.parse_args()
    sys.stdout.write(draw(steps(options.url, asked(options)), title(options), options.rows, options.block_length))


if __name__ == "__main__":
    main()
