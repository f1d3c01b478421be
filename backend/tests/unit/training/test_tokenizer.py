from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.conftest import tokenizer_for

TOKENIZER = tokenizer_for("dream")


def encode(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False).ids)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_comes_back_unchanged(text: str) -> None:
    assert TOKENIZER.decode(encode(text), skip_special_tokens=False) == text


@given(st.lists(st.text(alphabet="ab (.=\n", max_size=12), min_size=1, max_size=5))
def test_a_cut_at_a_lines_border_never_falls_inside_a_token(lines: list[str]) -> None:
    whole = encode("\n".join(lines))
    pieces = [token for i, line in enumerate(lines) for token in encode(("\n" if i else "") + line)]
    assert whole == pieces
