"""Judges what the models write by a language model that has no part in them: `python -m training.judge`.

SmolLM2-135M (see `corpus/smollm.py`) reads 64 held-out beginnings of the plain English with the continuations that the
service in this process writes by its defaults, and with the true ones. A text that repeats itself costs the judge few
bits, so the ratio of both numbers is also taken without the degenerate texts and the true ones behind their beginnings.
Beside it stand the shares of degenerate texts, of known words and of texts that end by themselves (beside the share of
the true ones that are short enough for that).
Then the models fill a hidden sentence of held-out stories from eight masks.
For the embedded models the scores go into `results/judge.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy

from training.continuation import Continuation, describe_texts, is_degenerate
from training.corpus.dictionary import english_words, unknown_words, words_of
from training.corpus.llama import Llama
from training.corpus.packed import Text, read_texts
from training.corpus.smollm import load_smollm
from training.corpus.split import cut, is_heldout
from training.evaluate import ASSETS, RESULTS
from training.infilling import share, similarity
from training.precision import is_bf16_worthwhile
from training.prepare import unit_hash
from training.sentences import MASKS, HiddenSentence, hidden_sentences
from training.serving import written

BEGINNINGS = 64
MAX_NEW_TOKENS = 192
MAX_SENTENCE_TOKENS = 64
"""The tokens that a filled sentence may grow to; without a limit one that does not end takes the whole context."""
NUM_SENTENCES = 5
"""The number of filled sentences to show."""
DOCUMENT_START = 0
"""The id that separates documents in the judge's own training text."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A language model that says how many bits a text costs it."""

    llama: Llama
    tokenizer: Tokenizer

    @torch.inference_mode()
    def bits(self, beginning: str, text: str) -> float:
        """The bits of `text` behind `beginning`: of all tokens that reach into it."""
        encoding = self.tokenizer.encode(beginning + text)
        ids = torch.tensor([DOCUMENT_START, *encoding.ids])
        states = self.llama.read(ids[None, :-1], self.llama.cache(1, len(ids)))
        inside = torch.tensor([end > len(beginning) for _, end in encoding.offsets], dtype=torch.bool)
        logits = self.llama.logits(states[0][inside]).float()
        return float(cross_entropy(logits, ids[1:][inside], reduction="sum")) / math.log(2)

    def bits_per_byte(self, texts: list[Continuation]) -> float:
        """The bits of all texts over their bytes."""
        written = [one for one in texts if one.text]
        num_bytes = sum(len(one.text.encode()) for one in written)
        return sum(self.bits(one.prompt, one.text) for one in written) / max(num_bytes, 1)


def load_judge() -> Judge:
    """The judge, in bfloat16 where that is fast."""
    torch.set_grad_enabled(False)
    return Judge(*load_smollm(torch.bfloat16 if is_bf16_worthwhile(torch.device("cpu")) else torch.float32))


def heldout_beginnings(texts: Iterable[Text], count: int = BEGINNINGS) -> list[Continuation]:
    """The beginnings of held-out texts with their true continuations, in an order that is no order of kinds."""
    heldout = sorted(filter(is_heldout, texts), key=lambda text: unit_hash(text.text))
    cuts = [cut(text) for text in heldout]
    return [Continuation(beginning, rest, ended=True) for beginning, rest in cuts if words_of(rest)][:count]


def continued(model: str, checkpoint: Path, prompts: list[str], **changes: Any) -> list[Continuation]:
    """The continuations that the service writes by its defaults, but for the parameters in `changes`."""
    calls = [{"request": prompt, "max_length": MAX_NEW_TOKENS, **changes} for prompt in prompts]
    answers = asyncio.run(written(model, checkpoint, calls))
    return [
        Continuation(prompt, answer.text, answer.metadata["finish_reason"] == "stop")
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def filled(model: str, checkpoint: Path, cases: Sequence[HiddenSentence]) -> list[str]:
    """The sentences that the service writes into gaps of eight masks; only `dreamon` changes that number."""
    grows = {"initial_masks": MASKS, "max_length": MAX_SENTENCE_TOKENS}
    size = grows if model == "dreamon" else {"max_length": MASKS}
    calls = [{"prefix": case.prefix, "suffix": case.suffix, "temperature": 0.0, **size} for case in cases]
    return [answer.text for answer in asyncio.run(written(model, checkpoint, calls))]


def sentence_scores(judge: Judge, cases: Sequence[HiddenSentence], sentences: Sequence[str]) -> dict[str, Any]:
    """The likeness of sentences to the true ones, and the judge's bits per byte of both."""
    pairs = list(zip(cases, sentences, strict=True))
    own = [Continuation(case.prefix, sentence, True) for case, sentence in pairs]
    true = [Continuation(case.prefix, case.sentence, True) for case in cases]
    return {
        "edit_similarity": round(mean(similarity(sentence, case.sentence) for case, sentence in pairs), 4),
        "bits_per_byte": round(judge.bits_per_byte(own), 4),
        "true_bits_per_byte": round(judge.bits_per_byte(true), 4),
        "examples": [{"true": case.sentence, "filled": sentence} for case, sentence in pairs[:NUM_SENTENCES]],
    }


def scores(judge: Judge, texts: list[Continuation], known: frozenset[str]) -> dict[str, Any]:
    """The judge's bits per byte, and what it cannot see."""
    words = [word for one in texts for word in words_of(one.text)]
    unknown = [word for one in texts for word in unknown_words(one.text, known)]
    return {
        "bits_per_byte": round(judge.bits_per_byte(texts), 4),
        "known_words": round(1 - len(unknown) / max(len(words), 1), 4),
        "ends_by_itself": share([one.ended for one in texts]),
        **describe_texts([one.text for one in texts]),
    }


def scores_beside(
    judge: Judge, texts: list[Continuation], true: list[Continuation], known: frozenset[str]
) -> dict[str, Any]:
    """The scores of texts, with the ratio of their bits per byte to those of the true texts in the same order.

    The second ratio leaves out what is degenerate, together with the true texts behind the same beginnings; it is None
    where nothing is left.
    """
    own = scores(judge, texts, known)
    ratio = own["bits_per_byte"] / judge.bits_per_byte(true)
    pairs = [(one, its) for one, its in zip(texts, true, strict=True) if not is_degenerate(one.text)]
    sides = [judge.bits_per_byte(list(side)) for side in zip(*pairs, strict=True)]
    without_degenerate = round(sides[0] / sides[1], 3) if sides else None
    return {"ratio": round(ratio, 3), "ratio_without_degenerate": without_degenerate, **own}


def ends_within(texts: list[Continuation], tokenizer: Tokenizer, limit: int = MAX_NEW_TOKENS) -> float:
    """The share of whole texts that end before a model's limit of new tokens, the end of text counted in."""
    return share([len(tokenizer.encode(one.text, add_special_tokens=False).ids) < limit for one in texts])


def judged(models: dict[str, Path], examples: int) -> dict[str, Any]:
    """The scores of the true continuations, and of each model's beside them."""
    judge, known, true = load_judge(), english_words(), heldout_beginnings(read_texts())
    cases = hidden_sentences(read_texts(), BEGINNINGS)
    results: dict[str, Any] = {"beginnings": len(true), "max_new_tokens": MAX_NEW_TOKENS}
    results["true"] = scores(judge, true, known)
    for model, checkpoint in models.items():
        texts = continued(model, checkpoint, [one.prompt for one in true])
        shown = [{"prompt": one.prompt, "text": one.text} for one in texts[:examples]]
        sentences = sentence_scores(judge, cases, filled(model, checkpoint, cases))
        ends = ends_within(true, Tokenizer.from_file(str(checkpoint / "tokenizer.json")))
        results[model] = scores_beside(judge, texts, true, known) | {"true_ends_by_itself": ends}
        results[model] |= {"hidden_sentences": sentences, "examples": shown}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("dreamon", "llada"), help="the model of --checkpoint")
    parser.add_argument("--checkpoint", type=Path, help="weights other than the embedded ones; nothing is written")
    parser.add_argument("--examples", type=int, default=5, help="the number of continuations to show")
    arguments = parser.parse_args()
    if (arguments.model is None) != (arguments.checkpoint is None):
        parser.error("--model and --checkpoint go together")
    models = {model: ASSETS / model for model in ("dreamon", "llada")}
    if arguments.checkpoint:
        models = {arguments.model: arguments.checkpoint}
    results = json.dumps(judged(models, arguments.examples), indent=2)
    print(results)
    if arguments.checkpoint is None:
        (RESULTS / "judge.json").write_text(results + "\n")


if __name__ == "__main__":
    main()
