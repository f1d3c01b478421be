"""Writes a model's CARD.md from its results, its recipe and its sources: no number in a card is typed by hand."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from training.recipe import Recipe

PURPOSE = {
    "llada": "English prose: continuation, infilling, and texts that end by themselves. A small LLaDA.",
    "dream": "Python functions: infilling of variable length (expand and delete) and continuation. A small DreamOn.",
}

LIMITS = {
    "llada": """\
- It writes in the manner of Jane Austen and the King James Bible, whatever it is asked; it knows nothing of the world
  since. Sentences are often locally plausible and rarely make sense together.
- It is not an assistant: it was never shown an instruction or a dialogue with one.
- It repeats what its sources hold, their views of people included.
- The King James Bible is in the public domain in most of the world; in the United Kingdom its printing is reserved.""",
    "dream": """\
- It knows the idioms of short Python functions. What it writes often does not do what the surrounding code needs, and
  must not be run unread.
- Docstrings and comments were removed from its training texts: it neither writes nor reads them well. Prose is
  outside of what it has seen, so a continuation of English text is code-like noise.
- Long gaps, long functions and names that occur once are beyond its size.
- Near copies of a function in several packages were removed only where they differ in nothing but white space: a
  held-out line may stand elsewhere in the training files, and the look-up baseline shows how much that gives away.""",
}


def model_card(recipe: Recipe, results: dict[str, Any]) -> str:
    """The card in Markdown. `results` is what `training.evaluate` writes."""
    sections = [
        f"# {recipe.name} (embedded checkpoint)\n\n{PURPOSE[recipe.family]}",
        _data(recipe, results["data"]),
        _recipe(recipe, results),
        _masked_table(results),
        *([_infilling_table(results["single_line_infilling"])] if "single_line_infilling" in results else []),
        _continuation(results["continuation"]),
        f"## Limits\n\n{LIMITS[recipe.family]}",
        f"## Rebuild it\n\n    python -m training.train --model {recipe.name} --preset {recipe.preset}\n"
        f"    python -m training.evaluate --model {recipe.name} --preset {recipe.preset}",
    ]
    return "\n\n".join(sections) + "\n"


def _data(recipe: Recipe, data: dict[str, Any]) -> str:
    train, heldout = data["train"], data["heldout"]
    by_licence = sorted(data["sources"], key=lambda source: str(source["licence"]))
    listing = "\n".join(
        f"- {licence}: {', '.join(_short_name(source['archive']) for source in sources)}"
        for licence, sources in groupby(by_licence, key=lambda source: str(source["licence"]))
    )
    unit = "passages" if recipe.data["kind"] == "english" else "functions or runs of functions"
    return f"""## Data and licences

{train["documents"]:,} {unit} with {train["tokens"]:,} tokens ({train["bytes"] / 1e6:.1f} MB) to train on and
{heldout["documents"]:,} with {heldout["tokens"]:,} tokens held out by hash. SHA-256 of the training text:
`{train["sha256"]}`. Holders of the copyrights stand in `training/NOTICE.md`.

{listing}"""


def _short_name(archive: str) -> str:
    """Name and version of a wheel or of a Debian package, without platform."""
    separator = "-" if archive.endswith(".whl") else "_"
    return " ".join(archive.split(separator)[:2])


def _recipe(recipe: Recipe, results: dict[str, Any]) -> str:
    shape, schedule, run = recipe.shape, recipe.schedule, results["run"]
    stored, trained = (results[f"parameters_{kind}"] / 1e6 for kind in ("stored", "trained"))
    passes = run["tokens"] / results["data"]["train"]["tokens"]
    stages = "; ".join(f"up to {stage.until:.0%} of the budget: {_mixture(stage.mixture)}" for stage in schedule.stages)
    remark = f"\n\n{recipe.remark.strip()}" if recipe.remark else ""
    return f"""## Recipe

- {stored:.1f}M parameters stored in bf16, {trained:.1f}M trained (the head is a copy of the embedding):
  vocabulary {shape["vocab_size"]}, width {shape["width"]}, {shape["layers"]} layers, {shape["heads"]} heads
  ({shape["kv_heads"]} for keys and values), MLP {shape["mlp_width"]}, context {shape["context_length"]}.
- From scratch on one shared CPU thread in fp32: {run["tokens"] / 1e6:.2f}M tokens
  ({passes:.1f} passes over the data) in {run["step"]} steps and {run["minutes"]:.0f} minutes.
- Muon {schedule.muon_rate} for the matrices, AdamW {schedule.adam_rate} for the rest, about {schedule.batch_tokens}
  tokens a step; warm-up {schedule.warmup_steps} steps, constant until {schedule.constant_until:.0%}, then linear
  to {schedule.final_rate:.0%}. What is exported is a moving average of the weights (decay
  {schedule.average_decay}). Seed {schedule.seed}.
- Objectives (`training/objectives.py`), share of the samples: {stages}.{remark}"""


def _mixture(mixture: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in mixture.items())


def _masked_table(results: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {ratio} | {scores['cross_entropy']:.2f} | {scores['accuracy']:.1%} | {scores['lookup_accuracy']:.1%} |"
        for ratio, scores in (
            (key.removeprefix("masked_"), results[key]) for key in results if key.startswith("masked_")
        )
    )
    return f"""## Metrics on held-out documents

Hidden tokens at three masking ratios; the look-up gives the token most often seen between the same visible neighbours.

| hidden share | cross-entropy (nats) | accuracy | look-up accuracy |
|---|---|---|---|
{rows}"""


def _infilling_table(infilling: dict[str, Any]) -> str:
    baselines = infilling["baselines"]
    lookup, lookup_parses = baselines["lookup_exact_match"], baselines["lookup_parses"]
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {scores['exact_match']:.1%} | {scores['edit_similarity']:.2f} | "
        f"{scores['parses']:.1%} | {scores['empty']:.1%} | {scores['mean_length_error']:.1f} |"
        for name, scores in infilling.items()
        if isinstance(scores, dict) and name != "baselines"
    )
    return f"""One whole line of a held-out function hidden: {infilling["functions"]} functions of at most 160 tokens,
greedy, one token a step. An empty infill does not count as parsing.

| canvas | exact match | edit similarity | parses | empty | mean length error (tokens) |
|---|---|---|---|---|---|
{rows}
| baseline: look-up by neighbouring lines | {lookup:.1%} | | {lookup_parses:.1%} | | |
| baseline: delete the line | 0.0% | | {baselines["deleting_the_line_parses"]:.1%} | | |"""


def _continuation(scores: dict[str, Any]) -> str:
    example = scores["examples"][0].strip().replace("\n", "\n    ")
    ended, known = scores["ends_by_itself"], scores["words_seen_in_training"]
    return f"""Continuation of {scores["continuations"]} held-out beginnings of 16 tokens, up to 192 new tokens at
temperature 0.7: {ended:.0%} end by themselves, {known:.1%} of the words occur in the training texts, distinct-1
{scores["distinct_1"]:.2f}, distinct-4 {scores["distinct_4"]:.2f}, {scores["mean_words"]:.0f} words on average.
The first of them, unselected:

    {example}"""
