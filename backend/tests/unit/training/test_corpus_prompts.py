"""The draws: fixed by seed, in their shares, without holes."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from training.corpus.generate import missing_shards, read_shards, shard_path, store_shard
from training.corpus.prompts import SHARES, draw, word_lists

DRAFTS = [draw(1, i) for i in range(2000)]


def test_a_draft_is_fixed_by_seed_and_number() -> None:
    assert draw(7, 3) == draw(7, 3)
    assert len({draw(seed, 3).request for seed in range(50)}) > 40


def test_no_hole_is_left_in_a_draft() -> None:
    assert not [d for d in DRAFTS if set("{}") & set(d.request + d.beginning + d.closing + d.question)]


def test_kinds_are_drawn_in_their_shares() -> None:
    drawn = Counter("letter or instructions" if d.kind in ("letter", "instructions") else d.kind for d in DRAFTS)
    assert {kind: pytest.approx(share, abs=0.04) for kind, share in SHARES.items()} == {
        kind: count / len(DRAFTS) for kind, count in drawn.items()
    }


def test_beginnings_end_where_a_token_may_end() -> None:
    """Tokens begin with their space: after a space the writer would have to begin in the middle of one."""
    assert not [d for d in DRAFTS if d.beginning != d.beginning.rstrip()]


def test_the_words_are_plain_and_none_is_twice_in_a_list() -> None:
    for name, words in word_lists().items():
        assert all(word.isascii() and word for word in words), name
        assert not [word for word, count in Counter(words).items() if count > 1], name


def test_an_interrupted_worker_goes_on_with_its_first_missing_shard(tmp_path: Path) -> None:
    store_shard(shard_path(tmp_path, 1), [{"text": "one"}])
    store_shard(shard_path(tmp_path, 5), [{"text": "five"}, {"text": "six"}])
    assert list(islice(missing_shards(tmp_path, 1, 2), 3)) == [3, 7, 9]
    assert [record["text"] for record in read_shards(tmp_path)] == ["one", "five", "six"]


def test_a_shard_that_was_not_finished_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "shard-00000.jsonl.part").write_text(json.dumps({"text": "half"}))
    assert list(read_shards(tmp_path)) == []
