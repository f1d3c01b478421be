"""The judge: its bits are those of a language model, and no word is counted twice."""

from __future__ import annotations

import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from training.continuation import Continuation
from training.corpus.llama import Layer, Llama, Shape, Weights
from training.corpus.packed import Text
from training.corpus.split import apart
from training.judge import Judge, ends_within, heldout_beginnings, scores, scores_beside, sentence_scores
from training.prepare import unit_hash
from training.sentences import HiddenSentence

WORDS = ("<start>", "a", "b", "cc")


def uniform_judge() -> Judge:
    """A network of zeros: each of the four words costs two bits."""
    tokenizer = Tokenizer(models.WordLevel(dict(zip(WORDS, range(4), strict=True)), unk_token="<start>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    layer = Layer(torch.zeros(12, 4), torch.zeros(4, 4), torch.zeros(16, 4), torch.zeros(4, 8))
    shape = Shape(width=4, layers=1, heads=1, kv_heads=1, head_width=4)
    return Judge(Llama(shape, Weights(torch.ones(4, 4), (layer,), torch.zeros(4, 4))), tokenizer)


def test_only_the_text_behind_the_beginning_costs_bits() -> None:
    judge = uniform_judge()
    assert judge.bits("a b", " cc a cc") == pytest.approx(3 * 2)
    assert judge.bits("", "cc a") == pytest.approx(2 * 2)


def test_bits_add_up_over_a_cut() -> None:
    """The chain rule, with a network that sees what stands before."""
    judge = uniform_judge()
    chance = torch.Generator().manual_seed(1)
    layer = Layer(*(torch.randn(tensor.shape, generator=chance) for tensor in
                    (torch.zeros(12, 4), torch.zeros(4, 4), torch.zeros(16, 4), torch.zeros(4, 8))))  # fmt: skip
    weights = Weights(torch.randn(4, 4, generator=chance), (layer,), torch.randn(4, 4, generator=chance))
    judge = Judge(Llama(judge.llama.shape, weights), judge.tokenizer)
    whole = judge.bits("", "a b cc a")
    assert whole == pytest.approx(judge.bits("", "a b") + judge.bits("a b", " cc a"), rel=1e-4)
    assert not math.isclose(whole, 4 * 2, rel_tol=0.05)


def test_bits_are_shared_out_over_bytes_and_empty_texts_have_none() -> None:
    texts = [Continuation("a", " cc", True), Continuation("a", "", False)]
    assert uniform_judge().bits_per_byte(texts) == pytest.approx(2 / 3)


def test_scores_stand_beside_what_the_judge_cannot_see() -> None:
    texts = [Continuation("a", " a b a", True), Continuation("a", " cc", False)]
    found = scores(uniform_judge(), texts, frozenset({"a", "b"}))
    assert found["known_words"] == 0.75
    assert found["ends_by_itself"] == 0.5
    assert found["bits_per_byte"] == pytest.approx(8 / 9, abs=1e-3)


def test_a_ratio_without_degenerate_texts_leaves_out_their_true_ones_too() -> None:
    circle = Continuation("a", " b" * 8, False)
    texts = [circle, Continuation("a", " cc", True)]
    true = [Continuation("a", " cc cc", True), Continuation("a", " b", True)]
    found = scores_beside(uniform_judge(), texts, true, frozenset())
    per_byte, true_per_byte = (8 + 1) / (16 + 3), (2 + 1) / (6 + 2)
    assert found["ratio"] == pytest.approx(per_byte / true_per_byte, abs=1e-3)
    assert found["ratio_without_degenerate"] == pytest.approx((1 / 3) / (1 / 2), abs=1e-3)
    alone = scores_beside(uniform_judge(), [circle], true[:1], frozenset())
    assert (alone["degenerate"], alone["ratio_without_degenerate"]) == (1.0, None)


def test_filled_sentences_are_compared_with_the_true_ones() -> None:
    cases = [HiddenSentence("a ", "cc b", " a"), HiddenSentence("b ", "a", " a")]
    found = sentence_scores(uniform_judge(), cases, ["cc b", "cc"])
    assert found["edit_similarity"] == 0.5
    assert found["bits_per_byte"] == pytest.approx(6 / 6)
    assert found["true_bits_per_byte"] == pytest.approx(6 / 5)
    assert found["examples"][1] == {"true": "a", "filled": "cc"}


def test_a_training_text_never_begins_as_a_held_out_one() -> None:
    heldout = next(key for key in map(str, range(1000)) if unit_hash(key) < 0.02)
    trained = next(key for key in map(str, range(1000)) if unit_hash(key) >= 0.02)
    same = "one two three four five six seven eight nine ten eleven twelve "
    texts = [Text("story", heldout, same + "a"), Text("story", trained, same + "b"), Text("story", trained, "c")]
    assert [text.text[-1] for text in apart(texts)] == ["a", "c"]


def test_beginnings_are_held_out_and_cut_at_words_or_turns() -> None:
    heldout, trained = (
        next(key for key in map(str, range(1000)) if (unit_hash(key) < 0.02) == is_heldout)
        for is_heldout in (True, False)
    )
    story = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    talk = "User: Why?\n\nAssistant: Because it is."
    texts = [Text("story", heldout, story), Text("conversation", heldout, talk), Text("story", trained, "No. " * 20)]
    found = {(one.prompt, one.text) for one in heldout_beginnings(texts)}
    assert found == {
        ("one two three four five six seven eight nine ten eleven twelve", " thirteen fourteen"),
        ("User: Why?\n\nAssistant:", " Because it is."),
    }


def test_a_true_text_ends_within_the_limit_if_its_end_fits_too() -> None:
    texts = [Continuation("", text, True) for text in ("a b", "a b cc", "a b cc a")]
    assert ends_within(texts, uniform_judge().tokenizer, limit=3) == pytest.approx(1 / 3, abs=1e-3)
