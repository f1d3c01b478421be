"""The border between what is trained on and what is held out, and the beginnings that a judge sees."""

from __future__ import annotations

from collections.abc import Sequence

from training.corpus.packed import Text
from training.prepare import unit_hash

HELDOUT = 0.02
"""The share of the keys that the recipes hold out."""
BEGINNING_WORDS = 12
ANSWER = "Assistant:"


def is_heldout(text: Text) -> bool:
    return unit_hash(text.key) < HELDOUT


def cut(text: Text) -> tuple[str, str]:
    """The beginning of a text, its first words or the turn of the user, and the rest."""
    if text.kind == "conversation":
        end = text.text.index(ANSWER) + len(ANSWER)
    else:
        end = len(" ".join(text.text.split(" ")[:BEGINNING_WORDS]))
    return text.text[:end], text.text[end:]


def apart(texts: Sequence[Text]) -> list[Text]:
    """The texts without those of the training part that begin as a held-out one does."""
    beginnings = {cut(text)[0] for text in texts if is_heldout(text)}
    return [text for text in texts if is_heldout(text) or cut(text)[0] not in beginnings]
