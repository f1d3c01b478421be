from pathlib import Path
from typing import Any

import pytest

from app.services.diffusion.families.dreamon import DREAMON
from app.services.diffusion.families.llada import LLADA
from app.services.diffusion.families.registry import text_family
from app.services.diffusion.models import (
    ChatMessage,
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionPromptParams,
)
from app.services.diffusion.native.prompt import prompt_ids
from app.text.chat_template import encode_chat
from app.text.tokenizer import Tokenizer

VECTORS = Path(__file__).parents[4] / "conformance" / "vectors"


def generating(**given: Any) -> DiffusionGenerationParams:
    return DiffusionGenerationParams(**{"text": "x", "max_length": 100, **given})


def infilling(**given: Any) -> DiffusionInfillingParams:
    return DiffusionInfillingParams(**{"prefix": "x", "max_length": 100, **given})


@pytest.mark.parametrize("family", ["dream", "dreamon"])
def test_the_dream_family_is_framed_by_beginning_and_end(family: str) -> None:
    tokenizer = Tokenizer.load(VECTORS / f"{family}-tiny")
    a, b = tuple(tokenizer.encode("left")), tuple(tokenizer.encode("right"))
    filled = prompt_ids(text_family(family), tokenizer, infilling(prefix="left", suffix="right"))
    assert filled.prefix == (tokenizer.bos_id, *a)
    assert filled.suffix == (*b, tokenizer.eos_id)
    assert filled.num_prompt_tokens == len(a) + len(b) + 2
    continued = prompt_ids(text_family(family), tokenizer, generating(text="left"))
    assert (continued.prefix, continued.suffix) == ((tokenizer.bos_id, *a), ())


def test_llada_gets_the_text_as_its_tokenizer_frames_it() -> None:
    tokenizer = Tokenizer.load(VECTORS / "llada-tiny")
    begin = (tokenizer.bos_id,) if tokenizer.adds_bos else ()
    filled = prompt_ids(LLADA, tokenizer, infilling(prefix="left", suffix="right"))
    assert filled.prefix == (*begin, *tokenizer.encode("left"))
    assert filled.suffix == tuple(tokenizer.encode("right"))


def test_a_conversation_is_written_by_the_checkpoints_template() -> None:
    tokenizer = Tokenizer.load(VECTORS / "llada-tiny")
    turns = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Hi <|eot_id|>")]
    prompt = prompt_ids(LLADA, tokenizer, DiffusionChatParams(messages=turns))
    expected = encode_chat(tokenizer, [turn.model_dump() for turn in turns], add_generation_prompt=True)
    assert (list(prompt.prefix), prompt.suffix, prompt.num_prompt_tokens) == (expected, (), len(expected))
    assert prompt.prefix.count(tokenizer.special_tokens["<|eot_id|>"]) == 2


def test_a_conversation_is_written_by_the_template_with_the_options_of_the_request() -> None:
    tokenizer = Tokenizer.load(VECTORS / "block" / "sdar-tiny")
    turns = [ChatMessage(role="user", content="Hi")]
    thinking, silent = (
        prompt_ids(
            LLADA, tokenizer, DiffusionChatParams(messages=turns, chat_template_kwargs={"enable_thinking": thinks})
        )
        for thinks in (True, False)
    )
    assert thinking == prompt_ids(LLADA, tokenizer, DiffusionChatParams(messages=turns))
    assert tokenizer.decode(silent.prefix[len(thinking.prefix) :], skip_special=False) == "<think>\n\n</think>\n\n"


def test_a_prompt_is_a_turn_where_there_is_a_template_and_else_a_text() -> None:
    turns = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Hi")]
    templated = Tokenizer.load(VECTORS / "llada-tiny")
    of_chat = prompt_ids(LLADA, templated, DiffusionChatParams(messages=turns))
    assert prompt_ids(LLADA, templated, DiffusionPromptParams(messages=turns)) == of_chat
    plain = Tokenizer.load(VECTORS / "dreamon-tiny")
    of_text = prompt_ids(DREAMON, plain, generating(text="Be brief.\n\nHi"))
    assert prompt_ids(DREAMON, plain, DiffusionPromptParams(messages=turns)) == of_text


def test_a_checkpoint_without_a_template_continues_the_conversation_as_text() -> None:
    tokenizer = Tokenizer.load(VECTORS / "dreamon-tiny")
    chat = DiffusionChatParams(messages=[ChatMessage(role="user", content="Hi")])
    assert chat.text == "User: Hi\n\nAssistant:"
    assert prompt_ids(DREAMON, tokenizer, chat) == prompt_ids(DREAMON, tokenizer, generating(text=chat.text))
