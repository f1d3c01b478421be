"""Writes a model's CARD.md from its results, its recipe and its sources: no number in a card is typed by hand."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, groupby
from typing import Any

from training.infilling import MAX_FUNCTION_BYTES
from training.recipe import Recipe, Stage, read_recipe

PURPOSE = {
    "llada": "Plain English, mostly stories: continuation, infilling, texts that end by themselves. A small LLaDA.",
    "dream": (
        "Python functions and plain English: infilling of variable length (expand and delete), continuation, short\n"
        "answers. A small DreamOn."
    ),
}

LIMITS = {
    "llada": """\
- It writes in the manner of its sources ({sources}), and knows nothing else of the world. What it states
  is often wrong. Sentences are mostly grammatical; what they tell together makes little sense.
- It is not an assistant: it has seen short answers to short questions, one turn each, and its answers are guesses.
- It repeats what its sources hold, their views of people included.""",
    "dream": """\
- It knows the idioms of short Python functions. What it writes often does not do what the surrounding code needs, and
  must not be run unread.
- Docstrings and comments were removed from its training texts: it neither writes nor reads them well.
- It writes English in the manner of its sources ({sources}), and knows nothing else of the world. Sentences are mostly
  grammatical; what they tell together makes little sense. It is not an assistant: its answers are guesses.
- Long gaps, long functions and names that occur once are beyond its size.
- Near copies of a function in several packages were removed only where they differ in nothing but white space: a
  held-out line may stand elsewhere in the training files, and the look-up baseline shows how much that gives away.""",
}

SOURCES = {
    "austen": "the novels of Jane Austen",
    "pydoc": "the help topics of Python",
    "jargon": "the Jargon File, a dictionary of hackers' slang that is dated and at times coarse",
    "plain": "plain English that SmolLM2-135M-Instruct wrote: short, grammatical, often wrong (`training/data`)",
}
"""The description of each source of prose, and a remark about it."""

PARTS = {
    "llada": {"heldout": "prose"},
    "dream": {"heldout": "functions", "heldout-prose": "prose"},
}
"""The description of each held-out part, by family."""

Cell = str | None


def model_card(recipe: Recipe, results: dict[str, Any]) -> str:
    """The card in Markdown; `results` are those that `training.evaluate` writes."""
    parts = PARTS[recipe.family]
    sections = [
        f"# {recipe.name} (embedded checkpoint)\n\n{PURPOSE[recipe.family]}",
        _data(recipe, results["data"]),
        _recipe(recipe, results),
        "## Metrics on held-out documents",
        _bits(parts, results["bits_per_byte"]),
        _masked(results),
        *([_infilling(results["single_line_infilling"])] if "single_line_infilling" in results else []),
        *([_humaneval(results["humaneval_infilling"])] if "humaneval_infilling" in results else []),
        *(_continuation(parts[part], scores) for part, scores in results["continuation"].items()),
        _examples(results["examples"]),
        f"## Limits\n\n{LIMITS[recipe.family].format(sources=_prose(recipe))}",
        _rebuilding(recipe),
    ]
    return "\n\n".join(sections) + "\n"


def _rebuilding(recipe: Recipe) -> str:
    training = [f"    python -m training.train --model {recipe.name} --preset {one}" for one in presets_until(recipe)]
    evaluation = f"    python -m training.evaluate --model {recipe.name} --preset {recipe.preset}"
    return "\n".join(["## Rebuild it\n", *training, evaluation])


def presets_until(recipe: Recipe) -> list[str]:
    """The presets to train one after the other for a recipe's result, its own last."""
    earlier = [presets_until(read_recipe(recipe.name, preset)) for preset in recipe.begin_with]
    return list(dict.fromkeys([*chain.from_iterable(earlier), recipe.preset]))


def table(columns: Iterable[str], rows: Iterable[Iterable[Cell]]) -> str:
    """A Markdown table; `None` is an empty cell."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *([cell or "" for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _data(recipe: Recipe, data: dict[str, Any]) -> str:
    train = data["train"]
    by_licence = sorted(data["sources"], key=lambda source: str(source["licence"]))
    rows = [
        (licence, ", ".join(_short_name(source["archive"]) for source in sources))
        for licence, sources in groupby(by_licence, key=lambda source: str(source["licence"]))
    ]
    heldout = " and ".join(
        f"{data[part]['documents']:,} of {name} with {data[part]['tokens']:,} tokens"
        for part, name in PARTS[recipe.family].items()
        if data.get(part, {}).get("documents")
    )
    kept = ", ".join(f"{source} {share:.0%}" for source, share in recipe.data["prose"].items()) or "none"
    return f"""## Data and licences

{train["documents"]:,} documents (passages of prose, functions, runs of functions) with {train["tokens"]:,} tokens
({train["bytes"] / 1e6:.1f} MB) to train on. Held out by hash: {heldout}.
Share of each source of prose that is kept: {kept}. SHA-256 of the training text:
`{train["sha256"]}`. Holders of the copyrights stand in `training/NOTICE.md`.

{table(("licence", "packages"), rows)}"""


def _prose(recipe: Recipe) -> str:
    return "; ".join(SOURCES[source] for source in recipe.data["prose"]) or "none"


def _short_name(archive: str) -> str:
    """The name and version of a wheel or of a Debian package, without the platform."""
    separator = "-" if archive.endswith(".whl") else "_"
    return " ".join(archive.split(separator)[:2])


def _recipe(recipe: Recipe, results: dict[str, Any]) -> str:
    shape, schedule = recipe.shape, recipe.schedule
    stages = "; ".join(f"up to {stage.until:.0%} of the budget: {_objectives(stage)}" for stage in schedule.stages)
    remark = f"\n\n{recipe.remark.strip()}" if recipe.remark else ""
    return f"""## Recipe

- {results["parameters"] / 1e6:.1f}M parameters in bf16 (the head is the embedding):
  vocabulary {shape["vocab_size"]}, width {shape["width"]}, {shape["layers"]} layers, {shape["heads"]} heads
  ({shape["kv_heads"]} for keys and values), MLP {shape["mlp_width"]}, context {shape["context_length"]}.
- {_run(results["run"], results["data"]["train"]["tokens"])}
- Muon {schedule.muon_rate} for the matrices, AdamW {schedule.adam_rate} for the rest, about {schedule.batch_tokens}
  tokens a step; warm-up {schedule.warmup_steps} steps, constant until {schedule.constant_until:.0%}, then linear
  to {schedule.final_rate:.0%}. What is exported is a moving average of the weights (decay
  {schedule.average_decay}). Seed {schedule.seed}.
- Objectives (`training/objectives.py`), share of the samples: {stages}.{remark}"""


def _run(run: dict[str, Any] | None, training_tokens: int) -> str:
    """The summary of a run, with the weights that it started from."""
    if run is None:
        return "Neither the run's log nor an earlier evaluation says how long these weights were trained."
    starts = [_origin(start, training_tokens) for start in run.get("warm_starts", [])]
    origin = f"From earlier weights ({'; '.join(starts)})" if starts else "From scratch"
    return f"{origin}:\n  {_counters(run, training_tokens)}."


def _origin(start: Any, training_tokens: int) -> str:
    """The origin of a warm start: the summary of the run before with its own origin, or a checkpoint's name."""
    if not isinstance(start, dict):
        return f"`{start}`" if start else "of an unknown run"
    before = [_origin(earlier, training_tokens) for earlier in start.get("warm_starts", [])]
    return "; ".join([*before, _counters(start, training_tokens)])


def _counters(run: dict[str, Any], training_tokens: int) -> str:
    passes = run["tokens"] / training_tokens
    size = f"{run['tokens'] / 1e6:.2f}M tokens ({passes:.1f} passes over today's data)"
    return f"{size} in {run['step']} steps and {run['minutes']:.0f} minutes"


def _objectives(stage: Stage) -> str:
    of_prose = f" (of prose: {_mixture(stage.prose_mixture)})" if stage.prose_mixture else ""
    return _mixture(stage.mixture) + of_prose


def _mixture(mixture: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in mixture.items())


def _bits(parts: dict[str, str], bits: dict[str, Any]) -> str:
    first = next(iter(bits.values()))
    order, draws = first["baselines"]["witten_bell"]["order"], first["draws_per_document"]
    columns = (
        "held-out",
        "documents",
        "model",
        "xz alone",
        "xz given the training text",
        f"Witten-Bell, order {order}",
    )
    return f"""Bits per byte, less is better. For the model it is an upper bound, estimated with {draws} draws
a document (± the standard error of the draws). The model is told a document's length in tokens and is not charged for
it; nor are the baselines. The Witten-Bell model (interpolated, {order} bytes of context) and xz know the same training
text as the model.

{table(columns, [_bits_row(parts[part], scores) for part, scores in bits.items()])}"""


def _bits_row(name: str, scores: dict[str, Any]) -> list[str]:
    baselines = scores["baselines"]
    return [
        name,
        f"{scores['documents']:,}",
        f"{scores['bits_per_byte']:.3f} ± {scores['monte_carlo_error']:.3f}",
        f"{baselines['xz_alone']:.3f}",
        f"{baselines['xz_given_training_text']:.3f}",
        f"{baselines['witten_bell']['bits_per_byte']:.3f}",
    ]


def _masked(results: dict[str, Any]) -> str:
    rows = [
        (
            key.removeprefix("masked_"),
            f"{scores['cross_entropy']:.2f}",
            _percent(scores["accuracy"]),
            _percent(scores["lookup_accuracy"]),
        )
        for key, scores in results.items()
        if key.startswith("masked_")
    ]
    return f"""Hidden tokens at three masking ratios; the look-up gives the token most often seen between the same
visible neighbours.

{table(("hidden share", "cross-entropy (nats)", "accuracy", "look-up accuracy"), rows)}"""


LINE_COLUMNS = ("exact match", "edit similarity", "parses", "empty", "mean length error (tokens)", "forward passes")


def _infilling(infilling: dict[str, Any]) -> str:
    baselines = infilling["baselines"]
    rows = [[name, *_line_cells(scores)] for name, scores in _canvases(infilling)]
    rows += _line_baselines(baselines)
    return f"""One whole line of a held-out function hidden: {infilling["functions"]} functions of at most
{MAX_FUNCTION_BYTES} bytes, greedy, one token a step, the surest first. An empty infill does not count as parsing.

{table(("canvas", *LINE_COLUMNS), rows)}"""


def _canvases(scores: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    named = [(name.replace("_", " "), one) for name, one in scores.items() if name != "baselines"]
    return [(name, one) for name, one in named if isinstance(one, dict)]


def _line_cells(scores: dict[str, float]) -> list[Cell]:
    return [
        _percent(scores["exact_match"]),
        f"{scores['edit_similarity']:.2f}",
        _percent(scores["parses"]),
        _percent(scores["empty"]),
        f"{scores['mean_length_error']:.1f}",
        f"{scores['mean_forward_passes']:.1f}",
    ]


def _line_baselines(baselines: dict[str, float]) -> list[list[Cell]]:
    exact, parsed = _percent(baselines["lookup_exact_match"]), _percent(baselines["lookup_parses"])
    deleted = _percent(baselines["deleting_the_line_parses"])
    edit = f"{baselines['lookup_edit_similarity']:.2f}"
    return [
        ["baseline: look-up by neighbouring lines", exact, edit, parsed, None, None, None],
        ["baseline: delete the line", _percent(0), None, deleted, None, None, None],
    ]


def _humaneval(scores: dict[str, Any]) -> str:
    title = "HumanEval-Infilling, single line (arXiv 2207.14255)"
    if "unavailable" in scores:
        return f"{title}: not measured, the problems could not be fetched ({scores['unavailable']})."
    baselines = scores["baselines"]
    lookup, deleted = _line_baselines(baselines)
    rows = [[name, _percent(one["pass_at_1"]), *_line_cells(one)] for name, one in _canvases(scores)]
    rows += [
        [lookup[0], _percent(baselines["lookup_pass_at_1"]), *lookup[1:]],
        [deleted[0], _percent(baselines["deleting_the_line_pass_at_1"]), *deleted[1:]],
        ["the true line", _percent(baselines["true_line_pass_at_1"]), _percent(1), *[None] * 5],
    ]
    seconds, mebibytes = scores["time_limit_s"], scores["memory_limit_bytes"] >> 20
    num_cases, num_all = scores["cases"], scores["cases_of_benchmark"]
    return f"""{title}: a fixed sample of {num_cases} of its {num_all:,} cases,
greedy. Its long docstrings are unlike anything the model was trained on; of what exceeds the context the text nearest
to the gap is kept. pass@1: the problem's tests pass, within {seconds} seconds of CPU time and {mebibytes} MiB,
in a process of its own, the network of which is not cut off.

{table(("canvas", "pass@1", *LINE_COLUMNS), rows)}"""


CONTINUATION_ROWS = {
    "ends_by_itself": "ends by itself",
    "degenerate": "degenerate repetition",
    "words_seen_in_training": "words seen in the training texts",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "distinct_4": "distinct-4",
    "without_words": "without a single word",
    "mean_words": "words on average",
    "witten_bell_bits_per_byte": "bits per byte under the Witten-Bell model",
}
PLAIN_NUMBERS = ("witten_bell_bits_per_byte", "distinct_1", "distinct_2", "distinct_4")


def _continuation(name: str, scores: dict[str, Any]) -> str:
    rows = [
        (label, *(_continuation_cell(key, scores[side][key]) for side in ("model", "true_text")))
        for key, label in CONTINUATION_ROWS.items()
    ]
    example = scores["examples"][0]
    shown = f"{example['prompt']}▸{example['text']}".strip().replace("\n", "\n    ")
    most, temperature = scores["max_new_tokens"], scores["temperature"]
    count, prompt = scores["continuations"], scores["prompt_tokens"]
    return f"""Continuation of {count} held-out beginnings ({name}) of {prompt} tokens, up to {most} new tokens,
{scores["decoding"]}, temperature {temperature}, beside the true continuations.
Degenerate: the same 1 to 8 words four times in a row, or more than half of the runs of four words repeated. Distinct-n
falls with length, and repetition costs few bits: neither says anything alone.

{table(("", "model", "true text"), rows)}

The first of them, unselected (the model writes behind ▸):

    {shown}"""


def _examples(examples: Iterable[dict[str, str]]) -> str:
    texts = [f"{each['before']}▸{each['text']}{'◂' if each['after'] else ''}{each['after']}" for each in examples]
    shown = "\n\n---\n\n".join("    " + text.strip().replace("\n", "\n    ") for text in texts)
    return f"""## First questions

The examples of the README and ten questions, by the server's defaults, each with its number as the seed; nothing is
selected (the model writes behind ▸, up to ◂ where text follows).

{shown}"""


def _continuation_cell(key: str, value: float) -> str:
    if key == "mean_words":
        return f"{value:.1f}"
    return f"{value:.2f}" if key in PLAIN_NUMBERS else _percent(value)
