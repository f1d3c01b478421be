"""The labels by which a model answers: each is one token, so the distribution at one mask says everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from string import ascii_lowercase, ascii_uppercase

from app.services.diffusion.decisions import QuestionKind
from app.services.diffusion.errors import InvalidParameters
from app.text.tokenizer import Tokenizer

_MORE = (*map("".join, product(ascii_uppercase, repeat=2)), *ascii_lowercase)
"""Labels of the options that come after Z, as far as the tokenizer has one token for each."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one question's options, in their order.

    Attributes:
        lead: what stands in front of the mask: a space where the tokens do not begin with one.
    """

    texts: tuple[str, ...]
    ids: tuple[int, ...]
    lead: str


def labels_for(tokenizer: Tokenizer, kind: QuestionKind, count: int) -> Labels:
    """Labels for so many options: digits for the levels of a score, `yes` and `no` where each is one token, else
    letters.

    Raises:
        InvalidParameters: the tokenizer has fewer tokens that can be labels.
    """
    if kind == "score":
        return _required(tokenizer, tuple(map(str, range(count))), count)
    plain = ("yes", "no") if kind == "yes_no" else tuple(ascii_uppercase[:count])
    found = _labels(tokenizer, plain) if len(plain) == count else None
    return found or _required(tokenizer, (*ascii_uppercase, *_MORE), count)


def _required(tokenizer: Tokenizer, texts: Sequence[str], count: int) -> Labels:
    """The first `count` of the texts that are tokens, with a space in front or else without."""
    most = 0
    for space, lead in _SPELLINGS:
        usable = _usable(tokenizer, texts, space, count)
        if len(usable) == count:
            return Labels(tuple(text for text, _ in usable), tuple(token_id for _, token_id in usable), lead)
        most = max(most, len(usable))
    raise InvalidParameters(
        f"a question has {count} options, and the tokenizer of this model has labels of one token for {most}; "
        "give fewer options, or ask in several questions",
        field="questions",
    )


def _labels(tokenizer: Tokenizer, texts: tuple[str, ...]) -> Labels | None:
    """All of the texts as labels; `None` where one is more than a token."""
    for space, lead in _SPELLINGS:
        usable = _usable(tokenizer, texts, space, len(texts))
        if len(usable) == len(texts):
            return Labels(texts, tuple(token_id for _, token_id in usable), lead)
    return None


_SPELLINGS = ((" ", ""), ("", " "))
"""The space belongs to the label's token, or stands in front of it."""


def _usable(tokenizer: Tokenizer, texts: Sequence[str], space: str, count: int) -> list[tuple[str, int]]:
    """The first `count` texts that are one token, each another one, with that token. No further text is looked at:
    there are hundreds that could be labels."""
    found: dict[int, str] = {}
    for text in texts:
        ids = tokenizer.encode(space + text)
        if len(ids) == 1:
            found.setdefault(ids[0], text)
        if len(found) == count:
            break
    return [(text, token_id) for token_id, text in found.items()]
