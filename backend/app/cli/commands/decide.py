"""The command `reynard-diffusion decide`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from app.cli.table import table
from app.cli.target import Target, connected, target_options
from app.cli.text_input import given_text, text_of_file
from app.cli.types import TEXT
from app.services.diffusion.decisions import MAX_PERMUTATIONS

Questions = dict[str, Any]


@click.command("decide")
@click.argument("text", type=TEXT, required=False)
@click.option("--file", type=click.Path(path_type=Path), help="Take the text from this file.")
@click.option("--yes-no", type=TEXT, multiple=True, metavar="QUESTION", help="Ask whether something is so.")
@click.option(
    "--choice",
    type=(TEXT, TEXT),
    multiple=True,
    metavar="QUESTION A,B",
    help="Ask which option it is; commas part them.",
)
@click.option(
    "--score", type=(TEXT, TEXT), multiple=True, metavar="QUESTION A,B", help="Ask which level it is, lowest first."
)
@click.option("--questions", type=click.Path(path_type=Path), help="A JSON file: questions as /v1/systemone has them.")
@click.option("--permutations", type=click.IntRange(1, MAX_PERMUTATIONS), help="Average over so many orders.")
@click.option("--model", type=TEXT, help="The model that is asked.")
@click.option("--json", "is_json", is_flag=True, help="Print the whole answer as JSON.")
@target_options
def command(
    text: str | None,
    file: Path | None,
    yes_no: Sequence[str],
    choice: Sequence[tuple[str, str]],
    score: Sequence[tuple[str, str]],
    questions: Path | None,
    permutations: int | None,
    model: str | None,
    is_json: bool,
    target: Target,
) -> None:
    """Answer questions about TEXT, --file, or standard input, by probabilities that are not calibrated.

    MASS is what all labels hold together: where it is small, the model did not understand the question.
    """
    if file is not None and text is not None:
        raise click.UsageError("give TEXT or --file, not both")
    asked = {**_of_options(yes_no, choice, score), **({} if questions is None else _of_file(questions))}
    if not asked:
        raise click.UsageError("ask something: --yes-no, --choice, --score or --questions")
    state = given_text(text) if file is None else text_of_file(file)
    with connected(target) as client:
        answer = client.decide(state, asked, model=model, permutations=permutations)
    click.echo(
        json.dumps(answer) if is_json else table([("QUESTION", "ANSWER", "PROBABILITY", "MASS"), *_rows(answer)])
    )


def _of_options(
    yes_no: Sequence[str], choice: Sequence[tuple[str, str]], score: Sequence[tuple[str, str]]
) -> Questions:
    """The questions of the options, each by its own words."""
    return {
        **{words: {"type": "noul", "instructions": words} for words in yes_no},
        **{
            words: {"type": "choice", "instructions": words, "criteria": dict.fromkeys(_parted(each))}
            for words, each in choice
        },
        **{words: {"type": "score", "instructions": words, "criteria": _parted(each)} for words, each in score},
    }


def _parted(options: str) -> list[str]:
    return [option.strip() for option in options.split(",") if option.strip()]


def _of_file(path: Path) -> Questions:
    try:
        found = json.loads(text_of_file(path))
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{path} must hold an object: questions by their names")
    return found


def _rows(answer: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for name, found in answer["answers"].items():
        mass = f"{answer['diagnostics'][name]['label_mass']:.2g}"
        probabilities = found.get("probabilities") or {"yes": found["noul"], "no": 1 - found["noul"]}
        legend = found.get("legend", {})
        for number, (option, probability) in enumerate(sorted(probabilities.items(), key=lambda item: -item[1])):
            shown = str(legend.get(option, option))
            yield ("" if number else name, shown, f"{probability:.4f}", "" if number else mass)
