"""Damage: JSON documents that were right before something in them was changed."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

ODD_TEXT = st.sampled_from(["", "\0", "a", "../../etc/passwd", "🙂", "\u2028", "<|mask|>", "x" * 5_000, "1", "true"])
ODD_NUMBERS = st.sampled_from([0, 1, -1, 2, 7, 2**24, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308])
ODD_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | ODD_NUMBERS | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def damaged(draw: st.DrawFn, document: Any, max_changes: int = 3) -> Any:
    """The document with some values replaced, removed, doubled or moved elsewhere."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, max_changes))):
        changed = _change(draw, changed)
    return changed


def _change(draw: st.DrawFn, document: Any) -> Any:
    holder, key = _place(draw, document)
    if holder is None:
        return draw(ODD_VALUES)
    match draw(st.sampled_from(["replace", "remove", "copy over", "insert"])):
        case "replace":
            holder[key] = draw(ODD_VALUES)
        case "remove":
            del holder[key]
        case "copy over":
            source, source_key = _place(draw, document)
            holder[key] = copy.deepcopy(document if source is None else source[source_key])
        case "insert" if isinstance(holder, list):
            holder.insert(key, draw(ODD_VALUES))
        case _:
            holder[draw(ODD_TEXT)] = draw(ODD_VALUES)
    return document


def _place(draw: st.DrawFn, document: Any) -> tuple[Any, Any]:
    """A container within the document and one of its keys or positions; `(None, None)` for the document itself."""
    holder, key, value = None, None, document
    for _ in range(draw(st.integers(0, 6))):
        if not isinstance(value, dict | list) or not value:
            break
        keys = list(value) if isinstance(value, dict) else range(len(value))
        holder, key = value, keys[draw(st.integers(0, len(keys) - 1))]
        value = holder[key]
    return holder, key
