"""Lets an embedded model answer what people try first: the examples of the README, and ten questions.

Nothing is selected, and everything has the server's defaults but for what the README sets. The number of an example is
its seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.services.diffusion.models import ChatMessage, plain_conversation
from training.serving import written

FIRST_CALLS: tuple[Mapping[str, Any], ...] = (
    {"request": "Once upon a time, in a magical forest", "max_length": 256, "temperature": 0.8, "top_p": 0.9},
    {"request": "The future of artificial intelligence", "max_length": 512},
    {"prefix": "The quick brown fox", "suffix": "over the lazy dog.", "max_length": 128, "temperature": 0.7},
)
QUESTIONS = (
    "What is your name?",
    "How do bees make honey?",
    "Why is the sky blue?",
    "Can you tell me a short story about a dog?",
    "What should I cook for dinner tonight?",
    "How can I sleep better?",
    "What is the capital of France?",
    "Who was the first person on the moon?",
    "How does a computer work?",
    "What is two plus three?",
)
MAX_ANSWER_TOKENS = 128


def calls() -> list[Mapping[str, Any]]:
    """The parameters of all examples; a question is put as a conversation without a chat template has it."""
    turns = [plain_conversation([ChatMessage(role="user", content=question)]) for question in QUESTIONS]
    return [*FIRST_CALLS, *({"request": turn, "max_length": MAX_ANSWER_TOKENS} for turn in turns)]


def examples(model: str, checkpoint: Path, count: int) -> list[dict[str, str]]:
    """The first `count` examples: the text before the model's own, that text, and the text behind it."""
    chosen = calls()[:count]
    answers = asyncio.run(written(model, checkpoint, chosen))
    return [
        {"before": call.get("request") or call["prefix"], "text": answer.text, "after": call.get("suffix", "")}
        for call, answer in zip(chosen, answers, strict=True)
    ]
