"""The training programs live beside `backend/`; a tiny recipe and a made-up text stand in for the real ones."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from app.engine.canvas.special import SpecialIds
from app.engine.models.base import FamilyModel
from training.initial import build
from training.objectives import Language
from training.prepare import Corpus, Document, encode
from training.recipe import Recipe, Schedule, Stage
from training.tokenizer import special_ids, train_tokenizer

VOCAB_SIZE = 280
SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "width": 32,
    "layers": 2,
    "heads": 2,
    "kv_heads": 1,
    "mlp_width": 64,
    "context_length": 128,
}
TEXTS = [f"def name_{i}(self):\n    value = self.get({i})\n    return value + {i}\n" for i in range(40)]


def tiny_recipe(family: str, mixture: dict[str, float]) -> Recipe:
    schedule = Schedule(
        tokens=1e9,
        minutes=60,
        batch_tokens=1024,
        muon_rate=1e-2,
        adam_rate=1e-2,
        warmup_steps=1,
        constant_until=1.0,
        final_rate=0.1,
        weight_decay=0.0,
        clip=1.0,
        average_decay=0.9,
        seed=3,
        stages=(Stage(1.0, mixture),),
    )
    return Recipe("tiny", "cpu", family, SHAPE, {"kind": "python"}, schedule)


def tokenizer_for(family: str) -> Tokenizer:
    return train_tokenizer(TEXTS, VOCAB_SIZE, family)


def language_for(family: str) -> Language:
    tokenizer = tokenizer_for(family)
    ids = special_ids(tokenizer, family)
    special = SpecialIds(mask=ids["mask"], eos=ids["eos"], pad=ids["eos"], bos=ids["bos"], expand=ids.get("expand"))
    return Language(tokenizer, special, is_code=True)


@pytest.fixture(scope="session")
def dreamon_language() -> Language:
    return language_for("dream")


@pytest.fixture(scope="session")
def llada_language() -> Language:
    return language_for("llada")


@pytest.fixture(scope="session")
def corpus(dreamon_language: Language) -> Corpus:
    return encode(dreamon_language.tokenizer, [Document(text, text, is_code=True) for text in TEXTS])


@pytest.fixture(scope="session")
def tiny_dream(dreamon_language: Language) -> FamilyModel:
    torch.manual_seed(0)
    return build(tiny_recipe("dream", {}), dreamon_language.tokenizer)


@pytest.fixture(scope="session")
def tiny_llada(llada_language: Language) -> FamilyModel:
    torch.manual_seed(0)
    return build(tiny_recipe("llada", {}), llada_language.tokenizer)
