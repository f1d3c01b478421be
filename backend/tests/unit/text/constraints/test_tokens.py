"""Automata over tokens against automata over bytes, choices, and what a vocabulary cannot spell."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.text.constraints.compile import compile_constraint
from app.text.constraints.compiled import CompiledConstraint
from app.text.constraints.vocabulary import Vocabulary
from app.text.errors import ConstraintError
from tests.unit.text.constraints.automata import BYTES, accepts, accepts_text, distances, texts_over

VOCABULARIES = st.lists(st.one_of(st.none(), st.text("abc", max_size=4).map(str.encode)), min_size=1, max_size=7)
PATTERNS = ["(ab|c)*", "a{2,3}b?c", "(a|b)*a(a|b)", "abc|abb|c", "[abc]{0,4}", "(aa)*|b+"]


def well_formed(constraint: CompiledConstraint) -> bool:
    """Whether edges are in order, one for each state and class, and each state is on a way from start to end."""
    edges = list(zip(constraint.sources.tolist(), constraint.labels.tolist(), strict=True))
    seen = {0}
    for _ in constraint.accepting:
        seen |= {int(to) for of, to in zip(constraint.sources, constraint.targets, strict=True) if int(of) in seen}
    return (
        edges == sorted(set(edges))
        and seen == set(range(len(constraint.accepting)))
        and max(distances(constraint)) <= len(constraint.accepting)
        and set(constraint.labels.tolist()) == set(range(1, constraint.num_classes))
        and {array.dtype for array in (constraint.classes, constraint.sources, constraint.labels, constraint.targets)}
        == {np.dtype(np.int32)}
    )


@given(VOCABULARIES, st.sampled_from(PATTERNS))
def test_tokens_are_accepted_where_their_bytes_are(tokens: list[bytes | None], pattern: str) -> None:
    by_byte = compile_constraint("regex", pattern, BYTES)
    every = [list(ids) for size in range(4) for ids in product(range(len(tokens)), repeat=size)]
    spelled = [ids for ids in every if all(tokens[token] for token in ids)]
    wanted = [ids for ids in spelled if accepts(by_byte, list(b"".join(tokens[token] or b"" for token in ids)))]
    try:
        constraint = compile_constraint("regex", pattern, Vocabulary(tokens))
    except ConstraintError:
        assert not wanted
    else:
        assert well_formed(constraint)
        assert [ids for ids in every if accepts(constraint, ids)] == wanted


def test_tokens_that_do_the_same_share_a_class() -> None:
    vocabulary = Vocabulary([b"a", b"b", b"ab", b"ba", b"x", None, b"a"])
    constraint = compile_constraint("regex", "[ab]{0,3}", vocabulary)
    classes = constraint.classes.tolist()
    assert classes[0] == classes[1] == classes[6] != classes[2] == classes[3]
    assert classes[4] == classes[5] == 0
    assert constraint.num_classes == 3


def test_choices_are_accepted_and_nothing_else() -> None:
    choices = ["ab", "a", "", "abc", "ab", "bc"]
    constraint = compile_constraint("choices", choices, BYTES)
    assert {text for text in texts_over("abc", 4) if accepts_text(constraint, text)} == set(choices)
    assert well_formed(constraint)


def test_ten_thousand_choices_compile() -> None:
    choices = [f"{number * 7919 % 1_000_003:06d} in all" for number in range(10_000)]
    constraint = compile_constraint("choices", choices, BYTES)
    assert all(accepts_text_fast(constraint, choices))


def accepts_text_fast(constraint: CompiledConstraint, texts: list[str]) -> list[bool]:
    """Whether each of the texts is accepted, with the rows read once."""
    keys = constraint.sources.astype(np.int64) * constraint.num_classes + constraint.labels
    states = np.zeros(len(texts), np.int64)
    for column in np.array([list(text.encode()) for text in texts]).T:
        wanted = states * constraint.num_classes + constraint.classes[column]
        places = np.searchsorted(keys, wanted)
        assert (keys[places] == wanted).all()
        states = constraint.targets[places].astype(np.int64)
    return [bool(accepting) for accepting in constraint.accepting[states]]


def test_an_empty_list_of_choices_is_refused() -> None:
    with pytest.raises(ConstraintError, match="list of choices is empty"):
        compile_constraint("choices", [], BYTES)


def test_a_choice_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ConstraintError, match="half of a surrogate pair"):
        compile_constraint("choices", ["a\ud800"], BYTES)


def test_choices_that_the_vocabulary_cannot_spell_are_left_out() -> None:
    vocabulary = Vocabulary([b"a", b"ab"])
    constraint = compile_constraint("choices", ["aab", "ba"], vocabulary)
    assert accepts(constraint, [0, 1])
    with pytest.raises(ConstraintError, match="vocabulary"):
        compile_constraint("choices", ["ba"], vocabulary)
