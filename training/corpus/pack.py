"""Filters the shards and packs what is kept, with a card: `python -m training.corpus.pack --folder FOLDER`.

`--read N` prints N texts drawn from what would be kept, and writes nothing.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from pathlib import Path

from training.corpus.card import Tally, corpus_card
from training.corpus.dictionary import english_words
from training.corpus.filters import Sieve
from training.corpus.generate import read_shards
from training.corpus.packed import PACKED, Text, store_texts
from training.corpus.split import apart


def pack(folder: Path, target: Path) -> str:
    """Writes the packed texts and their card, and returns the card."""
    records = list(read_shards(folder))
    sieve = Sieve(english_words())
    texts = apart(list(sieve.kept(records)))
    size = store_texts(texts, target)
    shards = sorted(int(path.name[len("shard-") :].split(".")[0]) for path in folder.glob("shard-*.jsonl.xz"))
    card = corpus_card(Tally(Counter(record["kind"] for record in records), sieve.dropped, texts, shards, size))
    (target.parent / "README.md").write_text(card)
    return card


def drawn(folder: Path, count: int, seed: int) -> list[Text]:
    """Some of the texts that are kept, for people to read."""
    texts = list(Sieve(english_words()).kept(read_shards(folder)))
    return random.Random(seed).sample(texts, min(count, len(texts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the shards are")
    parser.add_argument("--target", type=Path, default=PACKED)
    parser.add_argument("--read", type=int, metavar="N", help="print N kept texts instead")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the texts to read")
    arguments = parser.parse_args()
    if arguments.read:
        for text in drawn(arguments.folder, arguments.read, arguments.seed):
            print(f"--- {text.kind}\n{text.text}\n")
    else:
        print(pack(arguments.folder, arguments.target))


if __name__ == "__main__":
    main()
