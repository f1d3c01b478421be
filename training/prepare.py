"""Turns texts into clean, deduplicated, split documents, and these into token arrays.

A document is a text that the model sees at once: a passage of prose, or a function. The held-out part is fixed by hash
(of the passage; of the file for code), so no rerun and no new source moves a document across the border.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from training.corpus.packed import PACKED, read_texts
from training.functions import functions_of
from training.readers import (
    austen_paragraphs,
    jargon_articles,
    pydoc_topics,
    python_files,
    stdlib_files,
)
from training.recipe import Recipe
from training.sources import CACHE, Package, fetch, package_named, read_sources
from training.tokenizer import train_tokenizer

MAX_PASSAGE_CHARS = 1500
MAX_DOCUMENT_TOKENS = 480
JOINT = "\n\n"
"""The text between two paragraphs of a passage."""
JOINED_FUNCTIONS = 0.1
"""The share of documents that are a few adjacent functions instead of one, so that models see text after a function."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text, and its origin."""

    text: str
    origin: str
    """The key of the split: documents of one origin are in one part."""
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class Prose:
    """A source of prose: its packages and its reader."""

    packages: tuple[str, ...]
    read: Callable[[], Iterable[list[str]]]

    def documents(self) -> Iterator[Document]:
        """The passages of all chapters."""
        for chapter in self.read():
            yield from (Document(passage, passage) for passage in passages(chapter))


@dataclass(frozen=True, slots=True)
class Texts:
    """A source of short texts that are documents as they are, in a file of the repository."""

    path: Path
    packages: tuple[str, ...] = ()

    def documents(self) -> Iterator[Document]:
        """The texts; those that begin alike have one origin."""
        return (Document(text.text, text.key) for text in read_texts(self.path))


PROSE: dict[str, Prose | Texts] = {
    "austen": Prose(("r-cran-janeaustenr",), austen_paragraphs),
    "jargon": Prose(("dict-jargon",), jargon_articles),
    "pydoc": Prose((), pydoc_topics),
    "plain": Texts(PACKED),
}


def code_packages() -> list[Package]:
    """The packages that are not prose."""
    prose = {name for source in PROSE.values() for name in source.packages}
    return [package for package in read_sources() if package.name not in prose]


def used_packages(data: dict[str, Any]) -> list[Package]:
    """The packages that a recipe's texts come from."""
    prose = [package_named(name) for source in data["prose"] for name in PROSE[source].packages]
    has_packages = data["kind"] == "python" and data.get("code") != "stdlib"
    return prose + (code_packages() if has_packages else [])


def code_files(data: dict[str, Any]) -> Iterator[tuple[str, Iterable[tuple[str, str]]]]:
    """The sources of code by name, with the paths and texts of their files."""
    if data.get("code") == "stdlib":
        yield "stdlib", stdlib_files()
    else:
        yield from ((package.name, python_files(package.name)) for package in code_packages())


@dataclass(frozen=True, slots=True)
class Corpus:
    """The token ids of many documents in one array; document i is `ids[ends[i - 1]:ends[i]]`."""

    ids: np.ndarray[Any, np.dtype[np.uint16]]
    ends: np.ndarray[Any, np.dtype[np.int64]]
    is_code: np.ndarray[Any, np.dtype[np.bool_]]
    """Whether a document is code, not prose."""

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
        start = int(self.ends[index - 1]) if index else 0
        return self.ids[start : int(self.ends[index])]


def unit_hash(text: str) -> float:
    """A number in [0, 1) that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56


def prose_documents(sources: dict[str, float]) -> Iterator[Document]:
    """The passages and texts of the named sources, the given share of each."""
    for source, kept in sources.items():
        for document in PROSE[source].documents():
            if unit_hash("kept" + document.text) < kept:
                yield document


def passages(paragraphs: list[str]) -> Iterator[str]:
    """The paragraphs joined to passages of many sizes, which are spread evenly on a logarithmic scale."""
    chance = random.Random(paragraphs[0] if paragraphs else "")
    pieces = [piece for paragraph in paragraphs for piece in split_sentences(paragraph.replace("_", ""))]
    gathered: list[str] = []
    target = 0.0
    for piece in pieces:
        if gathered and len(JOINT.join([*gathered, piece])) > max(target, len(gathered[0])):
            yield JOINT.join(gathered)
            gathered = []
        if not gathered:
            target = 100 * (MAX_PASSAGE_CHARS / 100) ** chance.random()
        gathered.append(piece)
    if gathered:
        yield JOINT.join(gathered)


def split_sentences(paragraph: str) -> Iterator[str]:
    """The paragraph, or runs of its sentences if it is longer than a passage may be."""
    run = ""
    for sentence in re.split(r"(?<=[.!?;]) +(?=[A-Z\"'])", paragraph):
        if run and len(run) + len(sentence) > MAX_PASSAGE_CHARS:
            yield run
            run = ""
        run = f"{run} {sentence}" if run else sentence
    yield run


def python_documents(data: dict[str, Any]) -> Iterator[Document]:
    for package_name, files in code_files(data):
        left = data["max_bytes_per_package"]
        for path, source in sorted(files, key=lambda file: unit_hash(file[0])):
            if left <= 0:
                break
            functions = list(functions_of(source, data["min_lines"], data["max_lines"]))
            left -= sum(map(len, functions))
            joined = join_some(functions, path)
            yield from (Document(text, f"{package_name}/{path}", is_code=True) for text in joined)


def join_some(functions: list[str], seed: str) -> Iterator[str]:
    chance = random.Random(seed)
    position = 0
    while position < len(functions):
        count = chance.randint(2, 4) if chance.random() < JOINED_FUNCTIONS else 1
        yield "\n\n".join(functions[position : position + count])
        position += count


def deduplicated(documents: Iterable[Document]) -> list[Document]:
    """The documents without those that differ from an earlier one only in white space."""
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(" ".join(document.text.split()), document)
    return list(first.values())


def encode(tokenizer: Tokenizer, documents: list[Document]) -> Corpus:
    encodings = tokenizer.encode_batch([document.text for document in documents], add_special_tokens=False)
    pairs = zip((encoding.ids for encoding in encodings), documents, strict=True)
    kept = [(ids, document.is_code) for ids, document in pairs if 0 < len(ids) <= MAX_DOCUMENT_TOKENS]
    flat = np.fromiter((token for ids, _ in kept for token in ids), dtype=np.uint16)
    ends = np.cumsum([len(ids) for ids, _ in kept], dtype=np.int64)
    return Corpus(flat, ends, np.array([is_code for _, is_code in kept], dtype=np.bool_))


def data_folder(recipe: Recipe) -> Path:
    return CACHE / "data" / f"{recipe.name}-{recipe.preset}"


def prepare(recipe: Recipe, tokenizer: Tokenizer | None = None, folder: Path | None = None) -> Path:
    """Makes the folder of tokens and tokenizer for a recipe, unless it exists.

    `tokenizer` is that of the weights that a run starts from; without one it is trained on the texts.
    """
    folder = folder or data_folder(recipe)
    if (folder / "manifest.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    parts = split_parts(recipe.data)
    if tokenizer is None:
        tokenizer = train_tokenizer((d.text for d in parts["train"]), recipe.shape["vocab_size"], recipe.family)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, part in parts.items():
        save_corpus(encode(tokenizer, part), folder / f"{name}.npz")
    _write_manifest(folder, recipe, parts)
    return folder


def split_parts(data: dict[str, Any]) -> dict[str, list[Document]]:
    """The parts `train` and `heldout`; if there are prose and code, the held-out prose is `heldout-prose`.

    Prose to train on is there `prose_repeats` times, once unless the data says otherwise: documents are drawn evenly.
    """
    prose = deduplicated(prose_documents(data["prose"]))
    code = deduplicated(python_documents(data)) if data["kind"] == "python" else []
    repeated = prose * data.get("prose_repeats", 1)
    parts = {"train": [d for d in code + repeated if unit_hash(d.origin) >= data["heldout"]]}
    for name, documents in (("heldout", code or prose), ("heldout-prose", prose if code else [])):
        parts[name] = [d for d in documents if unit_hash(d.origin) < data["heldout"]]
    return parts


def save_corpus(corpus: Corpus, path: Path) -> None:
    np.savez(path, ids=corpus.ids, ends=corpus.ends, is_code=corpus.is_code)


def load_corpus(path: Path) -> Corpus:
    """The corpus of a file.

    Raises:
        ValueError: an earlier version prepared it, which did not keep apart what is code.
    """
    with np.load(path) as arrays:
        if "is_code" not in arrays:
            raise ValueError(f"{path.parent} was prepared by an earlier version: delete it, and it is made anew")
        return Corpus(arrays["ids"], arrays["ends"], arrays["is_code"])


def _write_manifest(folder: Path, recipe: Recipe, parts: dict[str, list[Document]]) -> None:
    manifest: dict[str, Any] = {"recipe": recipe.name, "preset": recipe.preset, "data": recipe.data}
    for name, part in parts.items():
        corpus = load_corpus(folder / f"{name}.npz")
        texts = "\0".join(document.text for document in part)
        manifest[name] = {
            "documents": len(corpus),
            "tokens": len(corpus.ids),
            "bytes": len(texts.encode()),
            "sha256": hashlib.sha256(texts.encode()).hexdigest(),
        }
    manifest["sources"] = [{"archive": fetch(p).name, "licence": p.licence} for p in used_packages(recipe.data)]
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
