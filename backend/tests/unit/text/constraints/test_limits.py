"""Hostile constraints end in an error within the limits, and the cache holds its bound."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.text.constraints import cache as cache_module
from app.text.constraints.cache import ConstraintCache
from app.text.constraints.compile import compile_constraint
from app.text.constraints.limits import Limits
from app.text.constraints.vocabulary import Vocabulary
from app.text.errors import ConstraintError
from tests.unit.text.constraints.automata import BYTES

TIGHT = Limits(seconds=1.0, nfa_states=20_000, states=5_000, members=100_000, map_cells=200_000, edges=200_000)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|b)*a(a|b){30}",
        "a{1,1000000}",
        "((a{0,100}){0,100}){0,100}",
        "((((a{1000}){1000}){1000}){1000}){1000}",
        "(a?){5000}",
        "(" * 1000 + ")" * 1000,
        "(a|aa|aaa){0,3000}",
        "(.{0,300}){0,20}",
        r"(\w{0,200}x){0,50}",
        "|".join(f"a{{0,{count}}}b" for count in range(300)),
    ],
)
def test_an_expression_that_explodes_is_refused_within_the_limits(pattern: str) -> None:
    start = time.monotonic()
    with pytest.raises(ConstraintError, match=r"too large|takes longer|limit"):
        compile_constraint("regex", pattern, BYTES, limits=TIGHT)
    assert time.monotonic() - start < 10 * TIGHT.seconds


def test_more_choices_than_the_limit_are_refused() -> None:
    with pytest.raises(ConstraintError, match="choices than the limit of 2"):
        compile_constraint("choices", ["a", "b", "c"], BYTES, limits=Limits(choices=2))


def test_a_constraint_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: object, **options: object) -> object:
        calls.append(args)
        time.sleep(0.02)
        return compile_constraint(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cache_module, "compile_constraint", counted)
    cache = ConstraintCache()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache.compiled("regex", "a+", BYTES), range(8)))
    assert len(calls) == 1
    assert all(one is found[0] for one in found)


def test_constraints_of_another_vocabulary_or_kind_are_others() -> None:
    cache = ConstraintCache()
    other = Vocabulary([b"a", b"b", b"["])
    first = cache.compiled("choices", ["a"], BYTES)
    assert cache.compiled("choices", ["a"], other) is not first
    assert cache.compiled("choices", ["b"], BYTES) is not first
    assert cache.compiled("regex", "a", BYTES) is not first
    assert cache.compiled("choices", ["a"], Vocabulary([bytes([byte]) for byte in range(256)])) is first


def test_the_cache_stays_below_its_bound_and_drops_what_was_used_longest_ago() -> None:
    size = compile_constraint("choices", ["a"], BYTES).nbytes
    cache = ConstraintCache(2 * size)
    first, second = (cache.compiled("choices", [letter], BYTES) for letter in "ab")
    assert cache.compiled("choices", ["a"], BYTES) is first
    cache.compiled("choices", ["c"], BYTES)
    assert (len(cache), cache.nbytes) == (2, 2 * size)
    assert cache.compiled("choices", ["a"], BYTES) is first
    assert cache.compiled("choices", ["b"], BYTES) is not second


def test_a_constraint_larger_than_the_cache_is_given_and_not_cached() -> None:
    cache = ConstraintCache(10)
    assert cache.compiled("regex", "a", BYTES).num_classes == 2
    assert len(cache) == cache.nbytes == 0


def test_an_error_is_raised_each_time() -> None:
    cache = ConstraintCache()
    for _ in range(2):
        with pytest.raises(ConstraintError):
            cache.compiled("choices", [], BYTES)


def test_what_others_derive_of_a_constraint_counts_too() -> None:
    cache = ConstraintCache(250, size_of=lambda constraint: 100)
    for letter in "abc":
        cache.compiled("choices", [letter], BYTES)
    assert (len(cache), cache.nbytes) == (2, 200)
