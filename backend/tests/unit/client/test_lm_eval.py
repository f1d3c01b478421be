"""The parts of the harness's model that need no harness, on a server that bounds its requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reynard_diffusion import DiffusionClient, FieldError, InvalidRequest
from reynard_diffusion.lm_eval import __main__ as program
from reynard_diffusion.lm_eval.generation import ended, foreign_words, parameters_of
from reynard_diffusion.lm_eval.scoring import Scorer, halves, moved_spaces

LONGEST, MOST = 10, 24
"""Characters of one text, and of a request."""


class BoundedClient(DiffusionClient):
    """A client of a server for which a text's log-likelihood is minus its length, and which notes what it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: list[tuple[str, tuple[str, ...]]] = []

    def likelihood(self, texts: Sequence[str], *, prefix: str = "", **_: Any) -> dict[str, Any]:
        if len(prefix) + sum(map(len, texts)) > MOST or "?" in "".join(texts):
            raise InvalidRequest("too much", errors=(FieldError("num_samples", "too much"),))
        if any(len(text) > LONGEST for text in texts):
            raise InvalidRequest("too long", errors=(FieldError("texts", "too long"),))
        if "!" in prefix:
            raise InvalidRequest("rejected", code="content_rejected", errors=(FieldError("prefix", "rejected"),))
        self.answered.append((prefix, tuple(texts)))
        return {"likelihoods": [{"log_likelihood": -float(len(text))} for text in texts]}


@pytest.fixture
def client() -> Iterator[BoundedClient]:
    with BoundedClient() as client:
        yield client


@pytest.fixture
def scorer(client: BoundedClient) -> Scorer:
    return Scorer(client, None, num_samples=8, seed=0)


def test_continuations_of_a_context_share_a_request(client: BoundedClient, scorer: Scorer) -> None:
    assert scorer.behind("It", [" was", " is", " "]) == [-4.0, -3.0, -1.0]
    assert client.answered == [("It", (" was", " is", " "))]


def test_what_is_too_much_for_one_request_becomes_several(client: BoundedClient, scorer: Scorer) -> None:
    texts = ["a" * n for n in (9, 8, 7, 6, 5)]
    assert scorer.behind("It", texts) == [-9.0, -8.0, -7.0, -6.0, -5.0]
    assert [text for _, asked in client.answered for text in asked] == texts
    assert len(client.answered) == 2
    assert scorer.behind("", ["a"] * 150) == [-1.0] * 150


@pytest.mark.parametrize(
    ("prefix", "texts", "complaint"),
    [("It", ["short", "a" * 11], "too long"), ("It", ["a?"], "too much"), ("It!", ["a", "b"], "rejected")],
)
def test_a_refusal_that_no_smaller_request_mends_is_raised(
    scorer: Scorer, prefix: str, texts: list[str], complaint: str
) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        scorer.behind(prefix, texts)


@given(st.text("ab \n", min_size=1, max_size=200))
def test_windows_are_the_whole_document_each_behind_the_text_before_it(document: str) -> None:
    with BoundedClient() as client:
        assert Scorer(client, None, 8, 0).whole(document) == -len(document)
    assert "".join(text for _, (text,) in client.answered) == document
    position = 0
    for prefix, (text,) in client.answered:
        assert prefix == document[max(0, position - len(text)) : position]
        position += len(text)


def test_a_document_that_is_refused_down_to_a_character_is_an_error(scorer: Scorer) -> None:
    with pytest.raises(InvalidRequest, match="too much"):
        scorer.whole("It is so. Is it? Yes.")


def test_documents_are_cut_before_a_space() -> None:
    assert halves("It was a truth") == ("It was", " a truth")
    assert halves("Itwasatruth") == ("Itwas", "atruth")
    assert halves("  ") == (" ", " ")


def test_spaces_at_the_end_of_a_context_belong_to_its_continuation() -> None:
    assert moved_spaces("Answer: ", "yes") == ("Answer:", " yes")
    assert moved_spaces("Answer:", " yes") == ("Answer:", " yes")
    assert moved_spaces("", "yes") == ("", "yes")


def test_generation_is_greedy_unless_the_task_says_otherwise() -> None:
    words = {"until": ["\n", ""], "max_gen_toks": 16, "do_sample": False, "num_beams": 1, "max_length": 4096}
    greedy = {"temperature": 0.0, "repetition_penalty": 1.0, "max_length": 16}
    assert parameters_of(words) == {**greedy, "stop": ["\n"]}
    assert foreign_words(words) == ["max_length", "num_beams"]
    sampled = {"until": [], "max_gen_toks": 16, "do_sample": True, "temperature": 0.5, "top_p": 0.9, "steps": 4}
    assert parameters_of(sampled) == {**greedy, "temperature": 0.5, "top_p": 0.9, "steps": 4}


def test_strings_that_the_server_did_not_see_end_a_text_too() -> None:
    until = [*map(str, range(16)), "Q:"]
    assert len(parameters_of({"until": until, "max_gen_toks": 1})["stop"]) == 16
    assert ended("yes Q: no 7", until) == "yes "
    assert ended("yes", []) == "yes"


def test_a_harness_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match=r"reynard-diffusion-client\[lm-eval\]"):
        program.main()
