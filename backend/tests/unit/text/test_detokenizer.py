from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.text import Detokenizer, Tokenizer
from tests.unit.text.folders import CHECKPOINTS, VECTORS

TOKENIZERS = {name: Tokenizer.load(VECTORS / name) for name in CHECKPOINTS}

# Ids of single bytes come first in these vocabularies: drawn often, they give broken characters of all kinds.
ids_with_broken_characters = st.lists(st.integers(0, 255) | st.integers(0, 520), max_size=60)
# 230..245 are bytes of a fallback vocabulary that begin and continue characters; 258.. are ordinary tokens.
byte_fallback_ids = st.lists(
    st.sampled_from([1, 2 + 0x20, 2 + 0xC3, 2 + 0xA9, 2 + 0xE6, 2 + 0x97, 2 + 0xA5, 2 + 0xFF]) | st.integers(258, 265),
    max_size=30,
)
cut_places = st.lists(st.integers(0, 60), max_size=8)


def streamed(tokenizer: Tokenizer, ids: list[int], cuts: list[int]) -> list[str]:
    """The outputs of a detokenizer for the slices of ids between the cuts, and then its flush."""
    detokenizer = Detokenizer(tokenizer)
    borders = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    return [*(detokenizer.feed(ids[start:stop]) for start, stop in pairwise(borders)), detokenizer.flush()]


@given(st.sampled_from(CHECKPOINTS), ids_with_broken_characters, cut_places)
def test_stream_equals_decode_for_any_ids_and_any_splitting(checkpoint: str, ids: list[int], cuts: list[int]) -> None:
    tokenizer = TOKENIZERS[checkpoint]
    assert "".join(streamed(tokenizer, ids, cuts)) == tokenizer.decode(ids)


@given(st.text(), st.sampled_from(CHECKPOINTS))
def test_no_piece_splits_a_character(text: str, checkpoint: str) -> None:
    tokenizer = TOKENIZERS[checkpoint]
    ids = tokenizer.encode(text)
    pieces = streamed(tokenizer, ids, list(range(len(ids))))
    assert sum(piece.count("\ufffd") for piece in pieces) == text.count("\ufffd")
    assert pieces[-1] == ""


@given(byte_fallback_ids, cut_places)
def test_stream_equals_decode_with_byte_fallback(byte_fallback: Tokenizer, ids: list[int], cuts: list[int]) -> None:
    assert "".join(streamed(byte_fallback, ids, cuts)) == byte_fallback.decode(ids)


def test_an_open_character_comes_out_at_flush_as_a_replacement(llada: Tokenizer) -> None:
    detokenizer = Detokenizer(llada)
    assert detokenizer.feed(llada.encode("a日")[:-1]) == "a"
    assert detokenizer.flush() == "\ufffd"


def test_special_tokens_are_skipped_even_inside_a_character(llada: Tokenizer) -> None:
    first, *rest = llada.encode("é")
    detokenizer = Detokenizer(llada)
    assert detokenizer.feed([first]) == ""
    assert detokenizer.feed([481]) == ""
    assert detokenizer.feed(rest) == "é"


def test_words_leave_as_soon_as_they_are_complete_without_a_byte_level(byte_fallback: Tokenizer) -> None:
    detokenizer = Detokenizer(byte_fallback)
    ids = byte_fallback.encode("ab ab")
    assert [detokenizer.feed([token_id]) for token_id in ids] == ["ab", " ab"]
    assert detokenizer.flush() == ""
