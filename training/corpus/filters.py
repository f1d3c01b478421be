"""Decides which raw texts are kept: each filter is a reason to drop one, and the first that holds is counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from training.continuation import is_degenerate
from training.corpus.dictionary import unknown_words, words_of
from training.corpus.packed import Text

MOST_UNKNOWN = 0.02
"""The share of words that the dictionary may lack."""
MOST_REPEATED = 0.12
"""The share of runs of four words that may have occurred before in the text."""
LEAST_VARIETY = 0.42
"""The number of different words over that of words, in the first hundred words."""
SHINGLE = 8
MOST_SHARED = 0.3
"""The share of runs of eight words that may stand in an earlier text."""
MAY_DOUBLE = {"that", "had", "very", "bye", "ha", "no", "so"}
LEAST_WORDS = {"conversation": 12, "middle": 12}
LEAST_WORDS_ELSE = 45

_PLAIN_SIGNS = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": " - ", "–": "-", "…": "...", "\u00a0": " "})


def text_of(record: dict[str, Any]) -> Text:
    """The text that a raw record makes: beginning and continuation, or both turns of a conversation."""
    written = tidy(record["beginning"] + whole_sentences(record))
    if question := record["question"]:
        return Text(record["kind"], question, f"User: {question}\n\nAssistant: {written}")
    has_beginning = len(record["beginning"].split()) >= 5
    return Text(record["kind"], record["beginning"] if has_beginning else record["request"], written)


def whole_sentences(record: dict[str, Any]) -> str:
    """The continuation, or as much of it as ends with a sentence, if its last words were cut off by the limit."""
    text, closing = record["text"], record["closing"]
    if record["ended"] or not closing or closing not in text:
        return str(text)
    start = text.index(closing) + len(closing)
    ends = [found.end() for found in re.finditer(r"[.!?][\"']?(?=\s|$)", text) if found.end() > start]
    return str(text[: ends[-1]]) if ends else str(text)


def tidy(text: str) -> str:
    """The text with plain signs, without spaces at ends of lines and with at most one empty line at a place."""
    text = re.sub(r"[ \t]+", " ", text.translate(_PLAIN_SIGNS))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()


def is_unfinished(record: dict[str, Any], text: Text) -> bool:
    """Whether the end is missing: of a letter, the name of who wrote it."""
    if text.kind == "letter":
        sender = re.search(r"is from (\w+) to", record["request"])
        return sender is None or not text.text.rstrip(".!").endswith(f"\n{sender[1]}")
    is_led_to_its_end = record["ended"] or (record["closing"] and record["closing"].strip() in text.text)
    return not is_led_to_its_end or re.search(r"[.!?][\"')]?$", text.text) is None


def is_short(record: dict[str, Any], text: Text) -> bool:
    return len(words_of(text.text)) < LEAST_WORDS.get(text.kind, LEAST_WORDS_ELSE)


def has_odd_signs(record: dict[str, Any], text: Text) -> bool:
    """Whether signs occur that plain prose does not have, or a list of letters and numbers nobody could read."""
    return not re.fullmatch(r"[A-Za-z0-9 \n.,;:!?'\"()%&/+-]*", text.text) or bool(
        re.search(r"\b[A-Z]{5,}\b|\d{5,}|(\b[A-Z]\.){3}|\n- .*\n- .*\n- .*\n- .*\n- ", text.text)
    )


_WORK = "story|tale|essay|paragraph|letter|sentences?|text|narrative|passage|summary|response|answer|example"
_META = re.compile(
    "|".join(
        (
            r"\bas an? (AI|language model|assistant)\b",
            r"\b(AI|virtual) assistant|language model|chatbot|SmolLM|Hugging ?Face|\b(I am|I'm) an AI\b",
            rf"\b(the|this|your|our|short|above|entire) ({_WORK}) (is|was|are|would|could|should|can|has|have|had)\b",
            rf"\b(the|this|your|our) ({_WORK}) (ends|begins|starts|shows|teaches|reminds|uses|conveys|highlights)\b",
            rf"\b(in|of|for) (this|the) ({_WORK}|scenario|rewritten|revised|version)\b",
            rf"\bhere(?:'s| is) (an?|the|your|my) (possible|revised|short|rewritten|{_WORK})\b",
            r"\b(end of|continue) the story\b|\bin plain words\b|\bin simple words\b|\bstep-by-step guide\b",
            r"\b(I|you)('d| would) (like|need) me to\b|\blet me know if\b|\bfeel free to (ask|modify|adjust)\b",
            r"\bI hope this (helps|letter|story|answer)\b|\bI (can't|cannot) (help|assist|provide)\b",
            r"\bI'm (sorry|ready), (but|I)\b",
            r"\bword count\b|placeholder|\brewrite|\brephrase|\b(first|third)[- ]person\b",
            r"\b(the|our) (protagonist|narrator|reader|author)\b",
        )
    ),
    re.IGNORECASE,
)


def is_meta(record: dict[str, Any], text: Text) -> bool:
    """Whether the writer speaks of its own text or of itself."""
    answer = text.text.partition("Assistant: ")[2] or text.text
    return bool(_META.search(re.sub(r"(?i)the moral of the story is", "", answer)))


def is_loop(record: dict[str, Any], text: Text) -> bool:
    """Whether words come back in cycles, a word stands twice in a row, or too many runs of four are repeated."""
    is_doubled = any(first not in MAY_DOUBLE for first in re.findall(r"\b([a-z]+),? \1\b", text.text))
    signs_twice = (
        text.kind == "letter" and len(re.findall(r"(?im)^(?:\w+ )?(?:regards|wishes|sincerely),$", text.text)) > 1
    )
    return (
        is_doubled or signs_twice or is_degenerate(text.text) or repeated_share(words_of(text.text), 4) > MOST_REPEATED
    )


def repeated_share(words: list[str], size: int) -> float:
    """The share of runs of `size` words that have occurred before in the text."""
    runs = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def is_poor(record: dict[str, Any], text: Text) -> bool:
    """Whether few words do all the work."""
    words = words_of(text.text)[:100]
    counts = Counter(word for word in words if len(word) > 3)
    most = counts.most_common(1)[0][1] if counts else 0
    return len(words) >= 40 and (len(set(words)) / len(words) < LEAST_VARIETY or most > 0.09 * len(words))


REASONS: dict[str, Callable[[dict[str, Any], Text], bool]] = {
    "unfinished": is_unfinished,
    "short": is_short,
    "odd signs": has_odd_signs,
    "meta talk": is_meta,
    "loops": is_loop,
    "poor in words": is_poor,
}
UNKNOWN_WORDS, NEAR_DUPLICATE = "unknown words", "near duplicate"


@dataclass(slots=True)
class Sieve:
    """Keeps good texts in their order, and counts the others by kind and reason."""

    known_words: frozenset[str]
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    seen: set[int] = field(default_factory=set)
    """The hashes of the runs of eight words of all kept texts."""

    def kept(self, records: Iterable[dict[str, Any]]) -> Iterator[Text]:
        for record in records:
            text = text_of(record)
            reason = self.reason_to_drop(record, text)
            if reason is None:
                yield text
            else:
                self.dropped[text.kind, reason] += 1

    def reason_to_drop(self, record: dict[str, Any], text: Text) -> str | None:
        for reason, holds in REASONS.items():
            if holds(record, text):
                return reason
        words = words_of(text.text)
        if len(unknown_words(text.text, self.known_words)) > MOST_UNKNOWN * len(words):
            return UNKNOWN_WORDS
        return NEAR_DUPLICATE if self._is_known(words) else None

    def _is_known(self, words: list[str]) -> bool:
        """Whether the text shares too much with earlier ones; if not, its runs are remembered."""
        runs = {hash(" ".join(words[i : i + SHINGLE])) for i in range(len(words) - SHINGLE + 1)}
        if len(runs & self.seen) > MOST_SHARED * len(runs):
            return True
        self.seen |= runs
        return False
