"""Draws a run from its log: `python -m training.plots --model dreamon`.

Needs matplotlib (`pip install -e backend/reynard_diffusion -e "backend[train]"`). The same log gives the same
bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.progress import read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).parent
MAX_POINTS = 300
"""The largest number of points of a curve; more would not be visible, and make the file large."""
RATIOS = (0.15, 0.5, 0.85)
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "training",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def thinned(values: Sequence[float], limit: int = MAX_POINTS) -> list[float]:
    """The means of `limit` runs of adjacent values, or the values themselves if they are no more than `limit`."""
    if len(values) <= limit:
        return list(values)
    borders = [i * len(values) // limit for i in range(limit + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(borders)]


def draw_run(folder: Path, target: Path, title: str) -> None:
    """Writes the picture of the run whose log is in `folder` as SVG.

    Raises:
        FileNotFoundError: there is no log.
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    entries = read_log(folder)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.9), layout="constrained")
        FigureCanvasSVG(figure)
        left, middle, right = figure.subplots(1, 3)
        draw_loss(left, _of_kind(entries, "train"), title)
        draw_heldout(middle, _of_kind(entries, "report"))
        draw_speed(right, _of_kind(entries, "train"))
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": "training/plots.py"})


def _of_kind(entries: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["kind"] == kind]


def _millions(entries: list[dict[str, Any]]) -> list[float]:
    return thinned([entry["tokens"] / 1e6 for entry in entries])


def draw_loss(axes: Axes, entries: list[dict[str, Any]], title: str) -> None:
    axes.plot(_millions(entries), thinned([entry["loss"] for entry in entries]), linewidth=0.8)
    axes.set(title=f"{title}: training loss", xlabel="tokens (millions)", ylabel="weighted loss (nats)")


def draw_heldout(axes: Axes, entries: list[dict[str, Any]]) -> None:
    for ratio in RATIOS:
        values = thinned([entry[f"masked_{ratio}"]["cross_entropy"] for entry in entries])
        axes.plot(_millions(entries), values, marker=".", label=f"{ratio:.0%} hidden")
    axes.set(title="held-out text", xlabel="tokens (millions)", ylabel="cross-entropy (nats)", ylim=(0, None))
    axes.legend()


def draw_speed(axes: Axes, entries: list[dict[str, Any]]) -> None:
    """Draws the throughput, and the share of the peak learning rate, which logs of earlier versions lack."""
    speeds = thinned([entry["tokens_per_second"] / 1000 for entry in entries])
    axes.plot(_millions(entries), speeds, linewidth=0.8, label="throughput")
    axes.set(title="speed and rate", xlabel="tokens (millions)", ylabel="thousand tokens/s", ylim=(0, None))
    rated = [entry for entry in entries if "rate" in entry]
    if rated:
        rates = axes.twinx()
        rates.plot(_millions(rated), thinned([entry["rate"] for entry in rated]), color="tab:orange")
        rates.set(ylabel="learning rate / peak", ylim=(0, 1.05))
        rates.yaxis.label.set_color("tab:orange")
        rates.grid(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, choices=("dreamon", "llada"))
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--run", help="folder of the run, under training/runs or anywhere (default: MODEL-PRESET)")
    parser.add_argument("--target", type=Path, help="file to write (default: training/results/MODEL-run.svg)")
    arguments = parser.parse_args()
    folder = ROOT / "runs" / (arguments.run or f"{arguments.model}-{arguments.preset}")
    target = arguments.target or ROOT / "results" / f"{arguments.model}-run.svg"
    try:
        draw_run(folder, target, arguments.model)
    except FileNotFoundError:
        sys.exit(f"{folder} holds no log: train the model first, or name the run's folder with --run")
    except ModuleNotFoundError:
        sys.exit('plots need matplotlib: pip install -e backend/reynard_diffusion -e "backend[train]"')
    print(target)


if __name__ == "__main__":
    main()
