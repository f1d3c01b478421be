"""Questions, answered by real tiny checkpoints through the service."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import app
from app.engine.interface.events import CanvasesRead, PositionRead
from app.services.diffusion import ContentRejected, DiffusionLLMService, InvalidParameters
from app.services.diffusion.decisions import Decision, DiffusionDecisionParams
from app.services.diffusion.families.registry import text_family
from app.services.diffusion.native import deciding
from app.services.diffusion.native.deciding import Deciding, deciding_of
from app.services.diffusion.native.labels import labels_for
from app.text.chat_template import encode_chat
from app.text.tokenizer import Tokenizer
from tests.unit.services.diffusion.content_filter.test_content_filter import Shouting
from tests.unit.services.diffusion.native.test_reading import models, plain_logprobs, service, tokens_of
from tests.unit.text.test_chat_template import with_template

__all__ = ["service"]  # the fixture

CHOICE = {"name": "team", "kind": "choice", "instructions": "Which team?", "options": ["sales", "support", "nobody"]}
SCORE = {"name": "tone", "kind": "score", "instructions": "How upset?", "options": ["calm", "furious"]}
YES_NO = {"name": "urgent", "kind": "yes_no", "instructions": "Is it urgent?", "options": ["", "It can wait."]}
ASSETS = Path(app.__file__).parent / "assets" / "models"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


def asked(*questions: Any, state: str = "It broke.", **fields: Any) -> DiffusionDecisionParams:
    chosen = list(questions) or [CHOICE, SCORE, YES_NO]
    return DiffusionDecisionParams.model_validate({"state": state, "questions": chosen, **fields})


def framed(params: DiffusionDecisionParams, tokenizer: Tokenizer | None = None, *, context: int = 4096) -> Deciding:
    tokenizer = tokenizer or tokens_of("llada")
    return deciding_of(params, text_family("llada"), tokenizer, tokenizer.mask_id or 0, context)


async def decided(service: DiffusionLLMService, params: DiffusionDecisionParams) -> dict[str, Any]:
    return dict((await service.decide(params)).metadata)


@models
async def test_options_have_the_probabilities_of_a_plain_pass(model_id: str, service: DiffusionLLMService) -> None:
    params = asked(state="x", model_id=model_id)
    metadata = await decided(service, params)
    tokenizer = tokens_of(model_id)
    family = text_family({"diffcoder": "stable_diffcoder", "fast": "fast_dllm_v2"}.get(model_id, model_id))
    frame = deciding_of(params, family, tokenizer, tokenizer.mask_id or 0, 4096)
    (canvas,) = frame.canvases
    assert metadata["denoising_steps"] == 1
    assert metadata["prompt_tokens"] == len(canvas.ids) - 3
    for question, position, scored in zip(params.questions, canvas.positions, canvas.scored_ids, strict=True):
        logprobs = plain_logprobs(model_id, list(canvas.ids), position)
        shares = [math.exp(float(logprobs[token_id])) for token_id in scored]
        answer = metadata["holes"][question.name]
        assert answer["label_mass"] == pytest.approx(sum(shares), rel=1e-3)
        assert answer["probabilities"] == pytest.approx([share / sum(shares) for share in shares], rel=1e-3)
        assert answer["method"] == "marginal"


def with_words(folder: Path) -> Tokenizer:
    """A tokenizer to which `yes` and `no` are one token each, with the space in front."""
    described = json.loads((ASSETS / "llada" / "tokenizer.json").read_text())
    described["model"]["vocab"]["Ġyes"] = len(described["model"]["vocab"]) + len(described["added_tokens"])
    described["model"]["merges"].append(["Ġy", "es"])
    (folder / "tokenizer.json").write_text(json.dumps(described))
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(ASSETS / "llada" / name, folder)
    return Tokenizer.load(folder)


def test_yes_and_no_are_letters_where_one_of_them_is_several_tokens() -> None:
    tokenizer = Tokenizer.load(ASSETS / "llada")
    assert labels_for(tokenizer, "yes_no", 2).texts == ("A", "B")
    text = tokenizer.decode(framed(asked(), tokenizer).canvases[0].ids)
    assert "3. Is it urgent?\nA: yes\nB: no, It can wait.\n\nAssistant:" in text


def test_the_frame_is_a_conversation_with_a_mask_for_each_question(tmp_path: Path) -> None:
    tokenizer = with_words(tmp_path)
    assert tokenizer.chat_template is None
    (canvas,) = framed(asked(), tokenizer).canvases
    mask = tokenizer.token_text(tokenizer.mask_id or 0)
    text = tokenizer.decode(canvas.ids, skip_special=False)
    assert "User: It broke.\n\nAnswer each question by its number" in text
    assert (
        "\n1. Which team?\nA: sales\nB: support\nC: nobody\n2. How upset?\n0: calm\n1: furious\n3. Is it urgent?"
        in text
    )
    assert text.endswith(f"\nno: It can wait.\nAnswer yes or no.\n\nAssistant:\n1:{mask}\n2: {mask}\n3:{mask}\n")
    assert [canvas.ids[position] for position in canvas.positions] == [tokenizer.mask_id] * 3


def test_the_frame_follows_the_chat_template_of_the_checkpoint(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, TEMPLATE)
    (canvas,) = framed(asked(), tokenizer).canvases
    turn = tokenizer.decode(canvas.ids).partition("<assistant>")[0].removeprefix("<user>")
    chat = encode_chat(tokenizer, [{"role": "user", "content": turn}], add_generation_prompt=True)
    assert list(canvas.ids[: len(chat)]) == chat
    assert tokenizer.decode(canvas.ids[len(chat) : canvas.positions[0]]).strip() == "1:"
    if tokenizer.end_of_turn_id is not None:
        assert canvas.ids[-1] == tokenizer.end_of_turn_id


def test_labels_are_single_tokens_with_the_space_in_them_or_in_front() -> None:
    tokenizer = tokens_of("llada")
    for kind, count in (("choice", 3), ("score", 10), ("yes_no", 2)):
        labels = labels_for(tokenizer, kind, count)  # type: ignore[arg-type]
        assert len({*labels.ids}) == count
        for text, token_id in zip(labels.texts, labels.ids, strict=True):
            assert tokenizer.encode(text if labels.lead else f" {text}") == [token_id]
    assert labels_for(tokenizer, "score", 3).texts == ("0", "1", "2")


def test_no_more_labels_are_looked_at_than_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokens_of("llada")
    looked_at: list[str] = []
    encode = tokenizer.encode

    def noting(text: str) -> Any:
        looked_at.append(text)
        return encode(text)

    monkeypatch.setattr(tokenizer, "encode", noting)
    labels_for(tokenizer, "choice", 4)
    assert len(looked_at) < 10


def test_more_options_than_there_are_labels_are_refused_with_the_number_of_labels() -> None:
    tokenizer = tokens_of("llada")
    with pytest.raises(InvalidParameters, match=r"255 options, .* of one token for \d+; give fewer") as refused:
        labels_for(tokenizer, "choice", 255)
    assert refused.value.field == "questions"


def test_in_as_many_orders_as_options_each_option_stands_once_in_each_place() -> None:
    frame = framed(asked(permutations=3))
    assert [order[0].places for order in frame.orders] == [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    assert {order[1].places for order in frame.orders} == {(0, 1)}, "the order of levels is their meaning"
    columns = zip(*(canvas.scored_ids[0] for canvas in frame.canvases), strict=True)
    assert [len({*column}) for column in columns] == [3, 3, 3]


def test_an_answer_is_the_mean_over_all_orders() -> None:
    frame = framed(asked(CHOICE, permutations=2))
    rows = [(math.log(0.2), math.log(0.2), math.log(0.4)), (math.log(0.1), math.log(0.05), math.log(0.05))]
    answer = frame.answer(CanvasesRead("x", tuple(PositionRead(row, ()) for row in rows)), tokens_of("llada"))["team"]
    assert answer["probabilities"] == pytest.approx([0.375, 0.25, 0.375])
    assert answer["label_mass"] == pytest.approx(0.5)


async def test_all_orders_are_read_in_one_pass(service: DiffusionLLMService) -> None:
    metadata = await decided(service, asked(CHOICE, state="x", permutations=2))
    assert metadata["denoising_steps"] == 1
    assert sum(metadata["holes"]["team"]["probabilities"]) == pytest.approx(1.0)


@pytest.mark.parametrize("permutations", [None, 2])
async def test_a_decision_is_the_same_alone_and_with_others(
    service: DiffusionLLMService, permutations: int | None
) -> None:
    params = asked(CHOICE, YES_NO, state="x", permutations=permutations)
    alone = (await decided(service, params))["holes"]
    others = [service.generate_stream(f"Once {number}", max_length=20, temperature=1.0) for number in range(3)]

    async def beside(generation: Any) -> None:
        await generation

    answers, *_ = await asyncio.gather(
        asyncio.gather(*(decided(service, params) for _ in range(8))), *map(beside, others)
    )
    assert [answer["holes"] for answer in answers] == [alone] * 8


def test_a_frame_longer_than_the_context_is_refused_with_both_numbers() -> None:
    (canvas,) = framed(asked()).canvases
    count = len(canvas.ids)
    framed(asked(), context=count)
    with pytest.raises(InvalidParameters, match=rf"come to {count} tokens, and the model sees {count - 1}") as refused:
        framed(asked(), context=count - 1)
    assert refused.value.field == "state"


def test_more_orders_than_fit_a_request_are_refused_with_the_greatest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    (canvas,) = framed(asked()).canvases
    monkeypatch.setattr(deciding, "MAX_TOKENS", 2 * len(canvas.ids))
    assert len(framed(asked(permutations=2)).canvases) == 2
    with pytest.raises(InvalidParameters, match="give at most 2") as refused:
        framed(asked(permutations=3))
    assert refused.value.field == "permutations"


async def test_a_content_filter_sees_state_and_questions(service: DiffusionLLMService) -> None:
    said = {**CHOICE, "instructions": "A team"}
    lower = await decided(service, asked(said, state="It Broke"))
    service.content_filter = Shouting()
    upper = await decided(service, asked(said, state="It Broke"))
    with pytest.raises(ContentRejected):
        await decided(service, asked(CHOICE))
    filtered = {**CHOICE, "instructions": "<A team>", "options": ["<sales>", "<support>", "<nobody>"]}
    service.content_filter = None
    assert upper["holes"] == (await decided(service, asked(filtered, state="<It Broke>")))["holes"]
    assert upper["holes"] != lower["holes"]


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        ({**CHOICE, "options": []}, "at least 1"),
        ({**SCORE, "options": ["x"] * 11}, "11 levels"),
        ({**YES_NO, "options": ["x"]}, "needs two options"),
        ({**CHOICE, "instructions": "x" * 20_000}, "characters, more than the maximum of 20000"),
    ],
)
def test_a_bad_question_is_refused(question: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        asked(question)


def test_two_questions_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two of the name 'team'"):
        asked(CHOICE, CHOICE)


def test_texts_can_be_changed_in_their_order() -> None:
    params = asked()
    assert params.all_texts[:2] == ["It broke.", "Which team?"]
    assert params.with_texts(params.all_texts) == params
    assert params.with_texts([text.upper() for text in params.all_texts]).questions[2].options == ["", "IT CAN WAIT."]


def test_confidence_is_zero_for_equal_options_and_one_for_a_sure_one() -> None:
    assert Decision((0.25,) * 4, 1.0).confidence == pytest.approx(0.0)
    assert Decision((0.0, 1.0), 1.0).confidence == 1.0
    assert Decision((1.0,), 1.0).confidence == 1.0
    assert Decision((0.8, 0.1, 0.1), 1.0).confidence == pytest.approx(0.7)
    assert Decision((0.5, 0.25, 0.25), 1.0).expected == pytest.approx(0.75)
