r"""Questions as canvases that the engine reads, and what it read as the answers.

State and questions are a user's turn, in the chat form of the checkpoint if it has one. The answer has a line for each
question, and a mask where its label goes, so that one forward pass answers all of them. With two questions:

    User: My parcel is broken.

    Answer each question by its number, with the label alone.

    1. Which team?
    A: returns
    B: billing
    2. Is it urgent?
    Answer yes or no.

    Assistant:
    1: M
    2: M

A further order of the options is a further canvas: there, `A` is another option.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from app.engine.interface.events import CanvasesRead
from app.engine.interface.params import ReadCanvas
from app.services.diffusion.decisions import DecisionQuestion, DiffusionDecisionParams
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.models import ChatMessage, DiffusionChatParams
from app.services.diffusion.native.labels import Labels, labels_for
from app.services.diffusion.native.prompt import prompt_ids
from app.services.diffusion.native.reading import MAX_TOKENS
from app.text.tokenizer import Tokenizer

TASK = "Answer each question by its number, with the label alone."
WITHOUT_WORDS = {"choice": "Which one is it?", "score": "Which level is it?", "yes_no": "Is it so?"}
"""Questions that come without instructions."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A question in one order of its options.

    Attributes:
        places: for each place, the position of the option that stands there.
    """

    question: DecisionQuestion
    labels: Labels
    places: tuple[int, ...]

    @property
    def scored_ids(self) -> tuple[int, ...]:
        """The label's token of each option, in the order of the request."""
        ids = dict(zip(self.places, self.labels.ids, strict=True))
        return tuple(ids[position] for position in range(len(ids)))

    def lines(self, number: int) -> list[str]:
        """Its lines in the user's turn."""
        question = self.question
        lines = [f"{number}. {question.instructions or WITHOUT_WORDS[question.kind]}"]
        for label, position in zip(self.labels.texts, self.places, strict=True):
            lines += self._line(label, question.options[position], position)
        if question.kind == "yes_no" and self.labels.texts == ("yes", "no"):
            lines.append("Answer yes or no.")
        return lines

    def _line(self, label: str, text: str, position: int) -> list[str]:
        if self.question.kind == "yes_no":
            word = ("yes", "no")[position]
            if label == word:
                return [f"{label}: {text}"] if text else []
            text = f"{word}, {text}" if text else word
        return [f"{label}: {text}"]


@dataclass(frozen=True, slots=True)
class Deciding:
    """The canvases of one request, a question in the order of the request at each position."""

    questions: tuple[DecisionQuestion, ...]
    orders: tuple[tuple[Ordered, ...], ...]
    canvases: tuple[ReadCanvas, ...]

    # As a `Reading` has them.
    num_top: ClassVar[int] = 0
    max_pass_tokens: ClassVar[int] = 2048
    num_left_out: ClassVar[int] = 0

    @property
    def num_given(self) -> int:
        """Tokens on all canvases that are no masks."""
        return sum(len(canvas.ids) - len(canvas.positions) for canvas in self.canvases)

    def answer(self, read: CanvasesRead, tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
        """The answer to each question, by name: the mean over all orders."""
        positions = iter(read.positions)
        rows = [[position.scored for position in islice(positions, len(self.questions))] for _ in self.canvases]
        return {
            question.name: _answer([row[index] for row in rows], self.orders[0][index].labels)
            for index, question in enumerate(self.questions)
        }


def deciding_of(
    params: DiffusionDecisionParams, family: TextFamily, tokenizer: Tokenizer, mask_id: int, context_length: int
) -> Deciding:
    """The frame of a request as the family was trained to see a conversation.

    Raises:
        InvalidParameters: the frame is longer than the context, or the orders are too many for its length.
        ConversationRefused: the chat template refuses a user's turn.
        ChatTemplateError: it fails.
        TextError: a text is not valid Unicode.
    """
    labels = _all_labels(tokenizer, params.questions)
    orders = tuple(tuple(_ordered(params, labels, number)) for number in range(params.num_orders))
    canvases: list[ReadCanvas] = []
    for order in orders:
        canvases.append(_canvas(params.state, order, family, tokenizer, mask_id))
        _check_length(len(canvases[-1].ids), context_length, len(orders))
    return Deciding(tuple(params.questions), orders, tuple(canvases))


def _all_labels(tokenizer: Tokenizer, questions: Sequence[DecisionQuestion]) -> list[Labels]:
    found = {(each.kind, len(each.options)): each for each in questions}
    labels = {(kind, count): labels_for(tokenizer, kind, count) for kind, count in found}
    return [labels[question.kind, len(question.options)] for question in questions]


def _ordered(params: DiffusionDecisionParams, labels: Sequence[Labels], number: int) -> Iterator[Ordered]:
    """All questions in one order: the options are turned by their share. Of four options in the second of two orders,
    `A` is the third. Levels stay, for their order is their meaning; so do yes and no where they are their labels."""
    for question, own in zip(params.questions, labels, strict=True):
        count = len(question.options)
        is_fixed = question.kind == "score" or own.texts == ("yes", "no")
        shift = 0 if is_fixed else number * count // params.num_orders
        yield Ordered(question, own, tuple((place + shift) % count for place in range(count)))


def _canvas(state: str, order: Sequence[Ordered], family: TextFamily, tokenizer: Tokenizer, mask_id: int) -> ReadCanvas:
    asked = "\n".join(line for number, each in enumerate(order, 1) for line in each.lines(number))
    turn = ChatMessage(role="user", content=f"{state}\n\n{TASK}\n\n{asked}")
    chat = DiffusionChatParams.model_construct(messages=[turn], chat_template_kwargs={})
    ids = list(prompt_ids(family, tokenizer, chat).prefix)
    begins = "" if tokenizer.chat_template is not None else "\n"
    positions = []
    for number, each in enumerate(order, 1):
        ids += tokenizer.encode(f"{begins}{number}:{each.labels.lead}")
        positions.append(len(ids))
        ids.append(mask_id)
        begins = "\n"
    ids += _end(tokenizer)
    return ReadCanvas(tuple(ids), tuple(positions), tuple(each.scored_ids for each in order))


def _end(tokenizer: Tokenizer) -> list[int]:
    """The ids behind the last label: the end of the turn in a chat, else a line end."""
    end_of_turn = tokenizer.end_of_turn_id if tokenizer.chat_template is not None else None
    return tokenizer.encode("\n") if end_of_turn is None else [end_of_turn]


def _check_length(num_tokens: int, context_length: int, num_orders: int) -> None:
    if num_tokens > context_length:
        raise InvalidParameters(
            f"state and questions come to {num_tokens} tokens, and the model sees {context_length}; give a shorter "
            "state, or ask in several requests",
            field="state",
        )
    if num_orders > 1 and num_orders * num_tokens > MAX_TOKENS:
        raise InvalidParameters(
            f"permutations={num_orders} of {num_tokens} tokens come to more than {MAX_TOKENS} tokens together; "
            f"give at most {max(MAX_TOKENS // num_tokens, 1)}",
            field="permutations",
        )


def _answer(rows: Sequence[tuple[float, ...]], labels: Labels) -> dict[str, Any]:
    """The mean of softmax over the labels; `rows` are log-probabilities of the labels, for each order."""
    shares = [_shares(row) for row in rows]
    masses = [math.fsum(map(math.exp, row)) for row in rows]
    return {
        "method": "marginal",
        "labels": list(labels.texts),
        "probabilities": [math.fsum(column) / len(rows) for column in zip(*shares, strict=True)],
        "label_mass": min(math.fsum(masses) / len(rows), 1.0),
    }


def _shares(row: tuple[float, ...]) -> list[float]:
    greatest = max(row)
    weights = [math.exp(logprob - greatest) for logprob in row]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
