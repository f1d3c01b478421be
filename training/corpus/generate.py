"""Writes shards of raw text until it is stopped: `python -m training.corpus.generate --folder FOLDER`.

A shard is a file of JSON lines, drawn and written from its own number; it appears under its name when it is whole. The
same command after an interruption goes on with the first shard that is missing. Several workers share a folder: each
writes every n-th shard.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from training.corpus.prompts import Draft, draw, word_lists
from training.corpus.rows import Closing, Written
from training.corpus.smollm import chat, end_of_turn, load_smollm
from training.corpus.writing import Sampling, Vocabulary, Writer

SHARD_TEXTS = 256
MOST_NEW = 260
CLOSE_AFTER = {"story": 130, "essay": 100, "instructions": 100, "letter": 80, "conversation": 40, "middle": 20}
"""The number of tokens after which the next end of a paragraph is the place for a text's last words."""
SAMPLING = Sampling()


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:05d}.jsonl.xz"


def missing_shards(folder: Path, worker: int, workers: int) -> Iterator[int]:
    """The numbers of a worker's shards that are not there yet, without an end."""
    return (shard for shard in count(worker, workers) if not shard_path(folder, shard).exists())


def write_shard(writer: Writer, tokenizer: Tokenizer, shard: int, size: int = SHARD_TEXTS) -> list[dict[str, Any]]:
    """The records of a shard."""
    drafts = [draw(shard, index) for index in range(size)]
    prompts = [tokenizer.encode(chat(draft.request, draft.beginning)).ids for draft in drafts]
    closings = [_closing(tokenizer, draft) for draft in drafts]
    texts = writer.write(prompts, MOST_NEW, SAMPLING, shard, closings)
    return [_record(tokenizer, draft, text) for draft, text in zip(drafts, texts, strict=True)]


def _closing(tokenizer: Tokenizer, draft: Draft) -> Closing:
    """The last words of a text; without any it ends where they would begin."""
    ids = tokenizer.encode(draft.closing).ids or [end_of_turn(tokenizer)]
    return Closing(ids, CLOSE_AFTER[draft.kind])


def _record(tokenizer: Tokenizer, draft: Draft, text: Written) -> dict[str, Any]:
    return {
        "kind": draft.kind,
        "request": draft.request,
        "question": draft.question,
        "beginning": draft.beginning,
        "closing": draft.closing,
        "text": tokenizer.decode(text.ids),
        "ended": text.ended,
        "tokens": len(text.ids),
    }


def store_shard(path: Path, records: list[dict[str, Any]]) -> None:
    """Writes a shard's file, which is there as a whole or not at all."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    part = path.with_suffix(".part")
    part.write_bytes(lzma.compress(lines.encode()))
    part.replace(path)


def read_shards(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of all shards in order."""
    for path in sorted(folder.glob("shard-*.jsonl.xz")):
        yield from map(json.loads, lzma.decompress(path.read_bytes()).splitlines())


_PLAIN = re.compile(r"[A-Za-z0-9 \n.,;:!?'\"()%&/+-]+")


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """The tokens of plain prose, without marks of headings, lists and code."""
    texts = [tokenizer.decode([i]) for i in range(tokenizer.get_vocab_size())]
    stop = end_of_turn(tokenizer)
    exempt = set(word_lists()["function_words"])
    content = [bool(re.fullmatch(" [a-z]{3,}", text)) and text[1:] not in exempt for text in texts]
    return Vocabulary(
        stop=stop,
        allowed=torch.tensor([stop, *(i for i, text in enumerate(texts) if _PLAIN.fullmatch(text))]),
        breaks=frozenset(i for i, text in enumerate(texts) if "\n" in text),
        content=torch.tensor(content),
    )


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    llama, tokenizer = load_smollm()
    writer = Writer(llama, vocabulary_of(tokenizer))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for shard in missing_shards(arguments.folder, arguments.worker, arguments.workers):
        began, worked = time.monotonic(), time.process_time()
        records = write_shard(writer, tokenizer, shard)
        store_shard(shard_path(arguments.folder, shard), records)
        tokens = sum(record["tokens"] for record in records)
        a_second, a_cpu_second = tokens / (time.monotonic() - began), tokens / (time.process_time() - worked)
        print(f"shard {shard}: {tokens} tokens, {a_second:.0f}/s, {a_cpu_second:.0f} per CPU-second", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the shards are")
    parser.add_argument("--worker", type=int, default=0, help="the number of this process among the workers")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
