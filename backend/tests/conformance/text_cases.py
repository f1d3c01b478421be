"""Golden vectors of tokenizers: texts, chats and growing prefixes."""

from __future__ import annotations

from itertools import accumulate

from app.text import Detokenizer, Tokenizer, encode_chat, render_chat
from tests.conformance.judging import Case, Raw, expect

_OF_A_CHAT = {"name", "messages", "add_generation_prompt", "text", "ids"}
"""The fields of a chat that are no options of its template."""


def judge_tokenizer(case: Case) -> None:
    tokenizer = Tokenizer.load(case.checkpoint)
    for raw in case.raw["encode"]:
        _judge_text(tokenizer, raw)
    for raw in [*case.raw.get("chat", []), *case.raw.get("chat_with_options", [])]:
        _judge_chat(tokenizer, raw)
    for raw in case.raw.get("incremental", []):
        _judge_prefixes(tokenizer, raw)


def _judge_text(tokenizer: Tokenizer, raw: Raw) -> None:
    what = repr(raw["text"][:40])
    expect(tokenizer.encode(raw["text"], parse_special=True) == raw["ids"], f"ids of {what} differ")
    expect(tokenizer.decode(raw["ids"], skip_special=False) == raw["decoded"], f"text of the ids of {what} differs")
    expect(tokenizer.decode(raw["ids"]) == raw["decoded_skip_special"], f"text without specials of {what} differs")


def _judge_chat(tokenizer: Tokenizer, raw: Raw) -> None:
    messages, prompt = raw["messages"], raw["add_generation_prompt"]
    template = tokenizer.chat_template or ""
    options = {name: value for name, value in raw.items() if name not in _OF_A_CHAT}
    special = tokenizer.role_tokens
    text = render_chat(template, messages, special=special, add_generation_prompt=prompt, options=options)
    expect(text == raw["text"], "the rendered chat differs")
    expect(encode_chat(tokenizer, messages, prompt, options) == raw["ids"], "the ids of the chat differ")


def _judge_prefixes(tokenizer: Tokenizer, raw: Raw) -> None:
    ids, golden = raw["ids"], raw["prefix_decodes"]
    decodes = [tokenizer.decode(ids[:length], skip_special=False) for length in range(len(ids) + 1)]
    expect(decodes == golden, "decodes of growing prefixes differ")
    visible = [tokenizer.decode(ids[:length]) for length in range(len(ids) + 1)]
    detokenizer = Detokenizer(tokenizer)
    shown = list(accumulate(detokenizer.feed([token_id]) for token_id in ids))
    held_back = [decode.rstrip("\ufffd") for decode in visible[1:]]
    expect(shown == held_back, "streamed text is not the prefix decode without open characters")
    expect(shown[-1] + detokenizer.flush() == visible[-1], "streamed text and decode differ at the end")
