"""Describes the packed corpus: where it comes from, what was dropped, how much of each kind there is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from training.corpus.filters import NEAR_DUPLICATE, REASONS, UNKNOWN_WORDS
from training.corpus.generate import SAMPLING, SHARD_TEXTS
from training.corpus.packed import Text
from training.corpus.smollm import WHEEL
from training.corpus.split import HELDOUT, is_heldout
from training.sources import writer_package


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of texts that were written, dropped and kept."""

    written: Counter[str]
    """The number of raw texts by kind."""
    dropped: Counter[tuple[str, str]]
    """The number of dropped texts by kind and reason."""
    texts: list[Text]
    shards: list[int]
    packed_bytes: int


def corpus_card(tally: Tally) -> str:
    """The card in Markdown."""
    size = sum(len(text.text) for text in tally.texts)
    heldout = sum(map(is_heldout, tally.texts))
    package = writer_package(WHEEL)
    return f"""# Plain English

{len(tally.texts):,} short texts, {size / 1e6:.2f} MB, in `plain-english.jsonl.xz` ({tally.packed_bytes / 1e6:.2f} MB):
JSON lines with `kind`, `key` and `text`. A small language model wrote them, to train the embedded checkpoints on. They
are grammatical and plain. What they state may be wrong, and many stories have little logic: nobody should learn facts
from them.

| kind | written | kept | bytes |
|---|---|---|---|
{_kinds(tally)}

Texts were dropped for the first of these reasons that held:

| reason | {" | ".join(tally.written)} | all |
|---|{"---|" * (len(tally.written) + 1)}
{_reasons(tally)}

- Writer: SmolLM2-135M-Instruct (Q4_1), in bfloat16, from the wheel `{WHEEL}` {package.version}, sha256
  `{package.sha256}`. Temperature {SAMPLING.temperature}, the likeliest {SAMPLING.top_k} tokens, min-p
  {SAMPLING.min_p}; only signs of plain prose; penalties for repeated runs and overused words.
- Prompts: drawn by `training/corpus/prompts.py` from `words.toml`; the numbers of shard and text are the seed.
  `python -m training.corpus.generate --folder FOLDER` writes the shards (here {_ranges(tally.shards)}, of
  {SHARD_TEXTS} texts each), `python -m training.corpus.pack --folder FOLDER` filters and packs them. The last bits of
  bfloat16, and with them the texts, may differ between processors.
- Split: a text is held out if the hash of its key, which is the drawn beginning or question, is among the first
  {HELDOUT:.0%}: {heldout:,} texts. Texts that begin alike are thus in one part; a training
  text with the first words of a held-out one is left out.
- Licence: Apache-2.0, as that of the writer's weights (SmolLM2 by Hugging Face, arXiv 2502.02737).
"""


def _kinds(tally: Tally) -> str:
    kept, sizes = Counter(text.kind for text in tally.texts), Counter[str]()
    for text in tally.texts:
        sizes[text.kind] += len(text.text)
    rows = [f"| {kind} | {count:,} | {kept[kind]:,} | {sizes[kind]:,} |" for kind, count in tally.written.items()]
    total = f"| all | {tally.written.total():,} | {len(tally.texts):,} | {sizes.total():,} |"
    return "\n".join([*rows, total])


def _reasons(tally: Tally) -> str:
    rows = []
    for reason in (*REASONS, UNKNOWN_WORDS, NEAR_DUPLICATE):
        counts = [tally.dropped[kind, reason] for kind in tally.written]
        shares = [f"{count / tally.written[kind]:.1%}" for kind, count in zip(tally.written, counts, strict=True)]
        rows.append(f"| {reason} | {' | '.join(shares)} | {sum(counts) / tally.written.total():.1%} |")
    return "\n".join(rows)


def _ranges(numbers: list[int]) -> str:
    """The numbers with runs drawn together: 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
