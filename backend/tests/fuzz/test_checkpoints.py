"""A checkpoint folder is somebody else's work. Whatever stands in it, loading it ends in a model or in an error that
says what is wrong; it neither hangs nor asks for memory that the files do not justify.
"""

from __future__ import annotations

import json
import resource
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.families.checkpoint import load_model
from app.engine.interface.errors import CheckpointError
from app.text import Tokenizer
from app.text.chat_template import encode_chat
from app.text.errors import TextError
from tests.fuzz.examples import fuzzed
from tests.fuzz.mutations import damaged
from tests.unit.engine.checkpoints import CHECKPOINTS

MAX_GROWTH_BYTES = 512 * 1024**2
FOLDERS = ("llada-tiny", "dream-tiny", "dreamon-tiny")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SOME_TEXT = "Hello, 漢字 🙂"


def load_weights(folder: Path) -> None:
    load_model(folder, torch.device("cpu"), torch.float32)


def use_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    tokenizer.decode(tokenizer.encode(SOME_TEXT))
    if tokenizer.chat_template is not None:
        encode_chat(tokenizer, [{"role": "user", "content": SOME_TEXT}], add_generation_prompt=True)


def works_or_is_refused(use: Callable[[Path], None], folder: Path) -> None:
    with suppress(CheckpointError, TextError):
        use(folder)


def replace(path: Path, content: bytes) -> Path:
    """Writes beside the file and renames, because the old one may be mapped; returns its folder."""
    beside = path.with_name("beside")
    beside.write_bytes(content)
    beside.replace(path)
    return path.parent


def header_of(safetensors: bytes) -> tuple[Any, bytes]:
    """The JSON header, and the data behind it."""
    (size,) = struct.unpack("<Q", safetensors[:8])
    return json.loads(safetensors[8 : 8 + size]), safetensors[8 + size :]


def as_safetensors(header: Any, data: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


@pytest.fixture(autouse=True)
def memory_is_bounded() -> Iterator[None]:
    before = _peak_bytes()
    yield
    assert _peak_bytes() - before < MAX_GROWTH_BYTES


def _peak_bytes() -> int:
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be damaged."""
    return Path(shutil.copytree(CHECKPOINTS[request.param], tmp_path / request.param))


@pytest.mark.parametrize("folder", FOLDERS, indirect=True)
@fuzzed
@given(data=st.data())
def test_a_damaged_config(folder: Path, data: st.DataObject) -> None:
    pristine = json.loads((CHECKPOINTS[folder.name] / "config.json").read_text())
    changed = data.draw(damaged(pristine))
    works_or_is_refused(load_weights, replace(folder / "config.json", json.dumps(changed).encode()))


@pytest.mark.parametrize("folder", ["llada-tiny"], indirect=True)
@fuzzed
@given(data=st.data())
def test_a_damaged_header_of_weights(folder: Path, data: st.DataObject) -> None:
    header, weights = header_of((CHECKPOINTS[folder.name] / WEIGHTS).read_bytes())
    changed = data.draw(damaged(header))
    works_or_is_refused(load_weights, replace(folder / WEIGHTS, as_safetensors(changed, weights)))


@pytest.mark.parametrize("folder", ["llada-tiny"], indirect=True)
@fuzzed
@given(claimed_bytes=st.integers(0, 2**64 - 1), kept=st.floats(0, 1))
def test_weights_that_claim_another_size_or_are_cut(folder: Path, claimed_bytes: int, kept: float) -> None:
    whole = (CHECKPOINTS[folder.name] / WEIGHTS).read_bytes()
    works_or_is_refused(load_weights, replace(folder / WEIGHTS, struct.pack("<Q", claimed_bytes) + whole[8:]))
    works_or_is_refused(load_weights, replace(folder / WEIGHTS, whole[: int(kept * len(whole))]))


@pytest.mark.parametrize("folder", ["dream-tiny"], indirect=True)
@fuzzed
@given(data=st.data())
def test_a_damaged_index(folder: Path, data: st.DataObject) -> None:
    pristine = json.loads((CHECKPOINTS[folder.name] / INDEX).read_text())
    works_or_is_refused(load_weights, replace(folder / INDEX, json.dumps(data.draw(damaged(pristine))).encode()))


@pytest.mark.parametrize("name", TOKENIZER_FILES)
@pytest.mark.parametrize("folder", FOLDERS, indirect=True)
@fuzzed
@given(data=st.data())
def test_a_damaged_tokenizer(folder: Path, name: str, data: st.DataObject) -> None:
    pristine = json.loads((CHECKPOINTS[folder.name] / name).read_text())
    works_or_is_refused(use_tokenizer, replace(folder / name, json.dumps(data.draw(damaged(pristine))).encode()))


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
@pytest.mark.parametrize("folder", ["dream-tiny"], indirect=True)
@fuzzed
@given(data=st.data())
def test_damaged_bytes_of_a_vocabulary(folder: Path, name: str, data: st.DataObject) -> None:
    (folder / "tokenizer.json").unlink(missing_ok=True)
    whole = (CHECKPOINTS[folder.name] / name).read_bytes()
    start, end = sorted((data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))))
    changed = whole[:start] + data.draw(st.binary(max_size=20)) + whole[end:]
    works_or_is_refused(use_tokenizer, replace(folder / name, changed))


TEMPLATE_PARTS = st.sampled_from(
    ["{% for m in messages %}", "{% endfor %}", "{{ m['content'] }}", "{{ messages }}", "{% if true %}", "{% endif %}",
     "{{ range(10**9) }}", "{{ 'a' * 10**9 }}", "{% set x = x ~ x %}", "{{ ''.__class__.__mro__ }}", "{% macro f() %}",
     "{% endmacro %}", "{{ f() }}", "{{ messages[0]['content']|replace('o', 'oo') }}", "{% break %}", "{#", "#}", "{%-",
     "{{ raise_exception('no') }}", "{{ 1 / 0 }}", "{{ bos_token }}", "<|mask|>", "\0", "{{ messages|tojson }}"]
)  # fmt: skip


@pytest.mark.parametrize("folder", ["llada-tiny"], indirect=True)
@fuzzed
@given(template=st.lists(TEMPLATE_PARTS | st.text(max_size=10), max_size=8).map("".join))
def test_a_made_up_chat_template(folder: Path, template: str) -> None:
    replace(folder / "chat_template.jinja", template.encode("utf-8", "replace"))
    works_or_is_refused(use_tokenizer, folder)
