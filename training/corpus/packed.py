"""The packed corpus: `training/data/plain-english.jsonl.xz`, one text a line with its kind and its key."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

PACKED = Path(__file__).parents[1] / "data" / "plain-english.jsonl.xz"
MOST_BYTES = 4_000_000
"""The largest file that the repository takes."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the corpus; texts with one `key` begin alike, and are in one part of the split."""

    kind: str
    key: str
    text: str


def store_texts(texts: Iterable[Text], path: Path) -> int:
    """Writes the packed file; returns its size.

    Raises:
        ValueError: the file would be larger than the repository takes.
    """
    lines = "".join(json.dumps(asdict(text)) + "\n" for text in texts)
    packed = lzma.compress(lines.encode(), preset=9 | lzma.PRESET_EXTREME)
    if len(packed) > MOST_BYTES:
        raise ValueError(f"the texts take {len(packed)} bytes, more than {MOST_BYTES}: pack fewer shards")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed)
    return len(packed)


def read_texts(path: Path = PACKED) -> Iterator[Text]:
    """The texts in their order."""
    for line in lzma.decompress(path.read_bytes()).splitlines():
        yield Text(**json.loads(line))
