"""Draws the results of the benchmarks: `python -m benchmarks.plots`, from the repository root.

The files `speed.json`, `growth.json` and `ablation.json` in `results/`, if they exist, become
`docs/images/performance-*.svg`. The program needs matplotlib (`pip install -e backend/reynard_diffusion -e
"backend[train]"`). Equal numbers give equal bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.plots import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"
# Okabe and Ito's colours, which colour-blind people can distinguish; the markers differ too.
LOOKS: dict[str, dict[str, Any]] = {
    "plain": {"color": "#555555", "marker": "x", "label": "plain loop"},
    "exact": {"color": "#0072B2", "marker": "o", "label": "exact"},
    "balanced": {"color": "#E69F00", "marker": "s", "label": "balanced"},
    "fast": {"color": "#009E73", "marker": "^", "label": "fast"},
}
AXIS_NAMES = {"prompt_tokens": "tokens of the prompt", "new_tokens": "new tokens", "requests": "requests at once"}
QUALITY = {"judged_bits_per_byte": "bits per byte, judged", "similarity": "similarity to the hidden line"}
"""The figures that the speed of a technique is drawn against, with their labels."""

Report = Mapping[str, Any]


def draw_speed(report: Report, figure: Figure) -> None:
    """Draws tokens per second as multiples of the plain loop's, for one request and eight at once."""
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
    for axes, suffix, title in zip(panels, ("", ", 8 at once"), ("one request", "eight at once"), strict=True):
        for number, preset in enumerate(("exact", "balanced", "fast")):
            speedups = [_system(workload, preset + suffix)["speedup"] for workload in report["workloads"]]
            places = [row + (number - 1) * 0.27 for row in range(len(speedups))]
            bars = axes.barh(places, speedups, height=0.25, color=LOOKS[preset]["color"], label=preset)
            axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
        axes.axvline(1, color=LOOKS["plain"]["color"], linewidth=1)
        axes.set(title=title, xlabel="tokens/s, times the plain loop's")
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
    panels[0].set_yticks(range(len(report["workloads"])), [workload["workload"] for workload in report["workloads"]])
    panels[0].invert_yaxis()
    panels[1].legend(loc="lower right")


def _system(workload: Report, name: str) -> Report:
    found: Report = next(system for system in workload["systems"] if system["system"] == name)
    return found


def draw_growth(report: Report, figure: Figure) -> None:
    """Draws time and memory as prompt, new text and batch grow."""
    grid = figure.subplots(2, len(report["axes"]), sharex="col", sharey="row")
    for column, (axis, rows) in enumerate(report["axes"].items()):
        for name, look in LOOKS.items():
            mine = [row for row in rows if row["system"] == name]
            values = [row[axis] for row in mine]
            for axes, quantity in zip(grid[:, column], ("seconds", "peak_mb"), strict=True):
                axes.plot(values, [max(row[quantity], 0.1) for row in mine], markersize=5, linewidth=1.2, **look)
        grid[0, column].set(xscale="log", yscale="log")
        grid[1, column].set(xlabel=AXIS_NAMES[axis], yscale="log")
        grid[1, column].set_xticks(values, [str(value) for value in values])
        for axes in grid[:, column]:
            axes.minorticks_off()
            axes.yaxis.set_major_formatter("{x:g}")
    grid[0, 0].set(ylabel="seconds until all are answered")
    grid[1, 0].set(ylabel="memory beside the weights (MB)")
    grid[0, 0].legend()


def draw_ablation(report: Report, figure: Figure) -> None:
    """Draws the speed that each technique gains and, with its standard error, the quality that it costs."""
    tables = {name: _judged(rows) for name, rows in report.items() if isinstance(rows, list)}
    heights = [len(rows) + 2 for rows in tables.values()]
    grid = figure.subplots(len(tables), 2, sharey="row", height_ratios=heights, width_ratios=(2, 3))
    for (left, right), (name, rows) in zip(grid, tables.items(), strict=True):
        quantity = next(quantity for quantity in QUALITY if quantity in rows[0]["quality"])
        cells, places = [row["quality"][quantity] for row in rows], range(len(rows))
        left.barh(places, [row["speedup"] for row in rows], height=0.7, color=LOOKS["fast"]["color"])
        left.set_yticks(places, [row["system"] for row in rows])
        left.invert_yaxis()
        left.set(title=name, xlabel="tokens/s, times the plain loop's")
        differences, errors = ([cell[part] for cell in cells] for part in ("difference", "error"))
        right.errorbar(differences, places, xerr=errors, fmt="o", markersize=4, color=LOOKS["exact"]["color"])
        right.axvline(0, color=LOOKS["plain"]["color"], linewidth=1)
        right.locator_params(axis="x", nbins=6)
        right.set(xlabel=f"{QUALITY[quantity]}: difference from exact")


def _judged(rows: Sequence[Report]) -> list[Report]:
    """The rows whose quality was measured, without those that are exact by construction."""
    return [row for row in rows if row["quality"]]


PICTURES: dict[str, tuple[Callable[[Report, Figure], None], tuple[float, float]]] = {
    "speed": (draw_speed, (9, 3.6)),
    "growth": (draw_growth, (9, 5)),
    "ablation": (draw_ablation, (10, 8)),
}
"""The function that draws each report, and width and height in inches."""


def draw(name: str, report: Report, target: Path) -> None:
    """Writes a picture as SVG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    fill, size = PICTURES[name]
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name, "axes.axisbelow": True}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasSVG(figure)
        fill(report, figure)
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": "benchmarks/plots.py"})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the numbers")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the pictures")
    options = parser.parse_args(arguments)
    for name in PICTURES:
        source, target = options.results / f"{name}.json", options.images / f"performance-{name}.svg"
        if not source.exists():
            print(f"{source} is not there: run `python -m benchmarks.{name}` first")
            continue
        try:
            draw(name, json.loads(source.read_text()), target)
        except ModuleNotFoundError:
            sys.exit('plots need matplotlib: pip install -e backend/reynard_diffusion -e "backend[train]"')
        print(target)


if __name__ == "__main__":
    main()
