"""Calls in words, read piece by piece."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.openai.calls import CallReader

ARGUMENTS = st.dictionaries(
    st.text(max_size=5), st.recursive(st.text(max_size=5) | st.integers(), st.lists), max_size=3
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (",", ": ")])


@given(st.text(max_size=20), ARGUMENTS, SEPARATORS, st.booleans(), st.data())
def test_a_call_is_read_however_it_is_cut(
    name: str, arguments: dict[str, object], separators: tuple[str, str], is_ascii: bool, data: st.DataObject
) -> None:
    text = json.dumps({"name": name, "arguments": arguments}, separators=separators, ensure_ascii=is_ascii)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    reader, read = CallReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        read.append((reader.read(text[start:end]), reader.function))
    written = "".join(piece for piece, _ in read)
    assert json.loads(written) == arguments
    assert written == json.dumps(arguments, separators=separators, ensure_ascii=is_ascii)
    assert reader.function == name
    assert not any(piece for piece, function in read if function is None)


@pytest.mark.parametrize("begun", ["", "{", '{"name": "ad', '{"name": "add"', '{"name": "add", "arguments":'])
def test_nothing_is_called_before_the_name_and_the_first_argument(begun: str) -> None:
    reader = CallReader()
    assert (reader.read(begun), reader.function) == ("", None)
