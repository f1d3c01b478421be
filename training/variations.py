"""Judges the server's defaults: `python -m training.variations --model llada temperature=0.4 block_length=8,top_p=1`.

The continuations of `training.judge` are written by the defaults, and then once for each argument with its parameters
changed. A table shows what the judge makes of them, `results/variations-<model>.json` keeps it. The judge's ratio to
the true continuations falls with every repetition; without degenerate texts it does not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.card import table
from training.corpus.dictionary import english_words
from training.corpus.packed import read_texts
from training.evaluate import ASSETS, RESULTS
from training.judge import BEGINNINGS, continued, heldout_beginnings, load_judge, scores_beside

COLUMNS = {
    "ratio": "judge's ratio",
    "ratio_without_degenerate": "without degenerate",
    "known_words": "known words",
    "degenerate": "degenerate",
    "ends_by_itself": "ends by itself",
    "mean_words": "words",
}


def read_changes(given: str) -> dict[str, Any]:
    """The parameters of one argument, `name=value` once or more with commas between; values are JSON, or else texts.

    Raises:
        ValueError: a part has no name or no value.
    """
    changes = {}
    for part in given.split(","):
        name, _, value = part.partition("=")
        if not name or not value:
            raise ValueError(f"{part!r} is not of the form name=value")
        try:
            changes[name] = json.loads(value)
        except json.JSONDecodeError:
            changes[name] = value
    return changes


def varied(
    model: str, checkpoint: Path, variations: Sequence[str], count: int = BEGINNINGS
) -> dict[str, dict[str, Any]]:
    """The scores of `count` true continuations, of those by the defaults, and of those by each variation."""
    judge, known, true = load_judge(), english_words(), heldout_beginnings(read_texts(), count)
    results = {"true text": scores_beside(judge, true, true, known)}
    for name, changes in {"defaults": {}, **{one: read_changes(one) for one in variations}}.items():
        texts = continued(model, checkpoint, [one.prompt for one in true], **changes)
        results[name] = scores_beside(judge, texts, true, known)
        print(name, results[name], flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=("dreamon", "llada"))
    parser.add_argument("--checkpoint", type=Path, help="weights other than the embedded ones; nothing is written")
    parser.add_argument("variations", nargs="*", type=str, metavar="NAME=VALUE[,…]", help="parameters to change")
    parser.add_argument("--beginnings", type=int, default=BEGINNINGS, help="the number of texts in each row")
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint or ASSETS / arguments.model
    results = varied(arguments.model, checkpoint, arguments.variations, arguments.beginnings)
    rows = [(name, *(str(own[key]) for key in COLUMNS)) for name, own in results.items()]
    print(table(("parameters", *COLUMNS.values()), rows))
    if arguments.checkpoint is None:
        (RESULTS / f"variations-{arguments.model}.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
