"""OpenAI's own package, unmodified, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from app.text import Tokenizer
from tests.api.plugin_models import words
from tests.api.serving import CHECKPOINTS, Server
from tests.profiles import examples

LLADA = Tokenizer.load(CHECKPOINTS / "llada-tiny")
MASK, SIZE = LLADA.mask_id, LLADA.vocab_size
CHAT: list[Any] = [{"role": "user", "content": "What is a fox?"}]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none is needed", max_retries=0) as client:
        yield client


def test_models(client: OpenAI) -> None:
    client.completions.create(model="llada", prompt="a", max_tokens=1)  # it may still be loading
    listed = {model.id: model for model in client.models.list()}
    assert {"dreamon", "llada", "words"} <= listed.keys()
    assert client.models.retrieve("llada") == listed["llada"]
    assert listed["llada"].model_extra == {
        "is_available": True,
        "context_length": 4096,
        "max_output_length": 1024,
        "parent": None,
        "capabilities": ["generate", "infill", "chat", "read", "constrain"],
    }


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_a_completion_is_the_native_answer(client: OpenAI, server: Server, model: str) -> None:
    native = server.answer("/generate", {"text": "Once upon", "model_id": model, "max_length": 8, "seed": 5})
    answer = client.completions.create(model=model, prompt="Once upon", max_tokens=8, seed=5)
    (choice,) = answer.choices
    assert (answer.model, choice.text) == (model, native["generated_text"])
    assert choice.finish_reason == native["metadata"]["finish_reason"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == native["tokens_generated"]
    assert answer.usage.prompt_tokens == native["metadata"]["prompt_tokens"]


def test_a_suffix_makes_it_an_infilling(client: OpenAI, server: Server) -> None:
    body = {"prefix": "def f(x):", "suffix": "return y", "model_id": "dreamon", "max_length": 8, "seed": 5}
    native = server.answer("/infill", body)
    asked: dict[str, Any] = {"model": "dreamon", "prompt": "def f(x):", "suffix": "return y", "max_tokens": 8}
    answer = client.completions.create(**asked, seed=5, echo=True)
    assert answer.choices[0].text == "def f(x):" + native["infilled_text"]
    response = server.session.post(f"{server.url}/v1/fim/completions", json={**asked, "random_seed": 5})
    (filled,) = response.json()["choices"]
    assert filled["text"] == filled["message"]["content"] == native["infilled_text"]


def test_our_own_parameters_have_their_effect(client: OpenAI, server: Server) -> None:
    own = {"block_length": 2, "steps": 2, "algorithm": "random"}
    native = server.answer("/generate", {"text": "a", "model_id": "llada", "max_length": 8, "seed": 5, **own})
    answer = client.completions.create(model="llada", prompt="a", max_tokens=8, seed=5, extra_body=own)
    assert answer.choices[0].text == native["generated_text"]


def test_each_choice_is_the_answer_to_its_seed(client: OpenAI, server: Server) -> None:
    before = server.wait_until_idle()
    answer = client.completions.create(model="words", prompt=["a", "b"], n=2, max_tokens=3, seed=7, best_of=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answer.choices] == ["".join(words(seed, 3)) for seed in (7, 8, 7, 8)]
    assert [(choice.model_extra or {})["seed"] for choice in answer.choices] == [7, 8, 7, 8]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert server.statistics()["successful_requests"] == before["successful_requests"] + 4


@examples(15)
@given(
    seed=st.integers(0, 50), length=st.integers(1, 12), n=st.integers(1, 3), stop=st.sampled_from([None, "in", "\n"])
)
def test_a_stream_is_the_whole_answer(client: OpenAI, seed: int, length: int, n: int, stop: str | None) -> None:
    asked: dict[str, Any] = {"model": "words", "max_tokens": length, "n": n, "seed": seed, "stop": stop}
    whole = client.chat.completions.create(messages=CHAT, **asked)
    texts, reasons = [""] * n, [""] * n
    options: Any = {"include_usage": True}
    for chunk in client.chat.completions.create(messages=CHAT, stream=True, stream_options=options, **asked):
        for choice in chunk.choices:
            assert not reasons[choice.index]
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert chunk.usage == whole.usage
    assert stop is None or not any(stop in text for text in texts)


def test_chat_goes_by_the_checkpoints_template(client: OpenAI) -> None:
    """The tokens of the template's frame are counted; without a template the turns have names."""
    by_template = client.chat.completions.create(model="llada", messages=CHAT, max_tokens=4, temperature=0)
    as_text = client.completions.create(model="llada", prompt="What is a fox?", max_tokens=4, temperature=0)
    assert by_template.choices[0].message.role == "assistant"
    assert by_template.usage is not None
    assert as_text.usage is not None
    assert by_template.usage.prompt_tokens > as_text.usage.prompt_tokens
    plain = client.chat.completions.create(model="dreamon", messages=CHAT, max_tokens=4, seed=3)
    text = "User: What is a fox?\n\nAssistant:"
    written = client.completions.create(model="dreamon", prompt=text, max_tokens=4, seed=3)
    assert plain.choices[0].message.content == written.choices[0].text


def test_truncation_is_reported(client: OpenAI, server: Server) -> None:
    """The embedded DreamOn sees 2,048 tokens."""
    text = "word " * 1_990
    asked: dict[str, Any] = {"model": "dreamon", "max_tokens": 1_024, "stop": "e", "seed": 1}
    whole = client.completions.create(prompt=text, **asked)
    native = server.answer(
        "/generate", {"text": text, "model_id": "dreamon", "max_length": 1_024, "stop": "e", "seed": 1}
    )
    left_out = native["metadata"]["truncated_prompt_tokens"]
    assert left_out > 0
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == native["metadata"]["prompt_tokens"] - left_out
    assert (whole.usage.model_extra or {})["truncated_prompt_tokens"] == left_out
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    streamed = list(client.completions.create(prompt=text, stream=True, stream_options=options, **asked))
    assert all(chunk.usage is not None for chunk in streamed)
    assert streamed[-1].usage == whole.usage


def test_sides_of_a_gap_that_are_too_long_are_cut_and_that_is_said(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "dreamon", "max_tokens": 8, "seed": 1}
    cut = client.completions.create(prompt="x" * 7_000 + " = ", suffix="\n" + "y" * 5_000, **asked)
    short = client.completions.create(prompt="x" * 4_997 + " = ", suffix="\n" + "y" * 4_999, **asked)
    assert cut.choices[0].text == short.choices[0].text
    assert cut.usage is not None
    assert (cut.usage.model_extra or {})["truncated_prompt_characters"] == 2_003 + 1


def test_a_long_conversation_loses_its_oldest_turns(client: OpenAI) -> None:
    """The answer to what is left is the answer to the whole."""
    system: Any = {"role": "system", "content": "Speak of foxes."}
    turns: list[Any] = [{"role": "user", "content": f"{number} " + "long " * 250} for number in range(3)]
    asked: dict[str, Any] = {"model": "dreamon", "max_tokens": 1_024, "seed": 3, "stop": "e"}
    whole = client.chat.completions.create(messages=[system, *turns], **asked)
    shorter = client.chat.completions.create(messages=[system, turns[2]], **asked)
    assert whole.choices[0].message.content == shorter.choices[0].message.content
    assert whole.usage is not None
    assert shorter.usage is not None
    assert whole.usage.prompt_tokens == shorter.usage.prompt_tokens
    assert (whole.usage.model_extra or {})["truncated_prompt_tokens"] > 0
    assert (shorter.usage.model_extra or {})["truncated_prompt_tokens"] == 0


def test_a_conversation_may_be_much_longer_than_the_context(client: OpenAI) -> None:
    turns: list[Any] = [{"role": "user", "content": f"{number} " + "long " * 19} for number in range(900)]
    asked: dict[str, Any] = {"model": "llada", "max_tokens": 4, "seed": 3}
    whole = client.chat.completions.create(messages=turns, **asked)
    assert whole.usage is not None
    left_out = (whole.usage.model_extra or {})["truncated_prompt_tokens"]
    assert left_out > 10 * whole.usage.prompt_tokens > 0


@pytest.mark.parametrize("model", ["llada", "dreamon"])
@pytest.mark.parametrize("marker", ["<|endoftext|>", " <|endoftext|>\n"])
def test_a_lone_special_token_is_no_suffix(client: OpenAI, server: Server, model: str, marker: str) -> None:
    asked: dict[str, Any] = {"model": model, "prompt": "def is_empty(self):\n    ", "max_tokens": 8, "seed": 1}
    marked, empty = (client.completions.create(suffix=suffix, **asked).choices[0].text for suffix in (marker, ""))
    assert marked == empty
    fim = [
        server.session.post(f"{server.url}/v1/fim/completions", json={**asked, "suffix": suffix}).json()["choices"]
        for suffix in (marker, "")
    ]
    assert fim[0] == fim[1]
    body = {"input_prefix": asked["prompt"], "model": model, "n_predict": 8, "seed": 1}
    infilled = [
        server.session.post(f"{server.url}/infill", json={**body, "input_suffix": suffix}).json()["content"]
        for suffix in (marker, "")
    ]
    assert infilled[0] == infilled[1] == fim[0][0]["text"]


def test_token_ids_are_the_text_that_they_stand_for(client: OpenAI) -> None:
    tokenizer = Tokenizer.load(CHECKPOINTS / "llada-tiny")
    bos = [tokenizer.require("bos")] if tokenizer.adds_bos else []
    ids = [[*bos, *tokenizer.encode(text)] for text in ("It was", "Once upon a time")]
    asked: dict[str, Any] = {"model": "llada", "max_tokens": 8, "seed": 3}
    texts = client.completions.create(prompt=["It was", "Once upon a time"], **asked)
    tokens = client.completions.create(prompt=ids, **asked)
    assert [choice.text for choice in tokens.choices] == [choice.text for choice in texts.choices]
    assert tokens.usage == texts.usage
    echoed = client.completions.create(prompt=ids[0], echo=True, **asked).choices[0].text
    assert echoed == tokenizer.decode(ids[0], skip_special=False) + texts.choices[0].text
    streamed = client.completions.create(prompt=ids[0], echo=True, stream=True, **asked)
    assert "".join(chunk.choices[0].text for chunk in streamed) == echoed


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_a_gap_behind_token_ids_is_that_behind_their_text(client: OpenAI, model: str) -> None:
    tokenizer = Tokenizer.load(CHECKPOINTS / f"{model}-tiny")
    bos = [tokenizer.require("bos")] if tokenizer.adds_bos or model == "dreamon" else []
    texts = ["def is_empty(self):\n    ", "import "]
    ids = [[*bos, *tokenizer.encode(text)] for text in texts]
    asked: dict[str, Any] = {"model": model, "suffix": "\r\n\r\n", "max_tokens": 8, "seed": 3, "logprobs": 1}
    of_texts, of_ids = (client.completions.create(prompt=prompts, **asked) for prompts in (texts, ids))
    assert of_ids.choices == of_texts.choices
    assert of_ids.usage == of_texts.usage
    streamed = list(client.completions.create(prompt=ids[0], stream=True, **asked))
    assert "".join(chunk.choices[0].text for chunk in streamed) == of_texts.choices[0].text
    echoed = client.completions.create(prompt=ids, echo=True, **{**asked, "logprobs": None})
    assert [choice.text for choice in echoed.choices] == [
        tokenizer.decode(prompt, skip_special=False) + choice.text
        for prompt, choice in zip(ids, of_texts.choices, strict=True)
    ]


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_token_ids_before_a_gap_stay_as_they_are(client: OpenAI, model: str) -> None:
    tokenizer = Tokenizer.load(CHECKPOINTS / f"{model}-tiny")
    word = tokenizer.encode("import os")
    letters = [token_id for letter in "import os" for token_id in tokenizer.encode(letter)]
    assert len(letters) > len(word)
    asked: dict[str, Any] = {"model": model, "max_tokens": 4, "seed": 3}
    behind = client.completions.create(prompt=[word, letters], suffix="\n", **asked).usage
    before = client.completions.create(prompt=[word, letters], **asked).usage
    assert behind is not None
    assert before is not None
    assert before.prompt_tokens == len(word) + len(letters)
    num_behind = len(tokenizer.encode("\n")) + (model == "dreamon")  # which ends the text behind a gap
    assert behind.prompt_tokens == before.prompt_tokens + 2 * num_behind


@pytest.mark.parametrize(
    ("model", "token_id", "message"),
    [
        ("llada", 10**6, f"prompt has 1000000 at index 1, which is no token of this model; its {SIZE} ids are 0 to"),
        ("llada", -1, "prompt has -1 at index 1"),
        ("llada", MASK, "prompt has the mask at index 1"),
        ("words", 1, "token ids are not taken by model"),
    ],
)
def test_token_ids_that_are_none_are_refused(client: OpenAI, model: str, token_id: int, message: str) -> None:
    for suffix in ("", "b"):
        with pytest.raises(openai.BadRequestError, match=message) as refusal:
            client.completions.create(model=model, prompt=[[1], [1, token_id]], suffix=suffix, max_tokens=2)
        assert refusal.value.param == "prompt"


def test_an_answer_that_may_not_end_is_as_long_as_it_may_be(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "llada", "prompt": "The end.", "max_tokens": 64, "seed": 1}
    answer = client.completions.create(**asked, extra_body={"ignore_eos": True})
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (64, "length")


def test_the_stop_string_that_ended_an_answer_is_named(client: OpenAI, server: Server) -> None:
    asked: dict[str, Any] = {"model": "words", "prompt": "a", "max_tokens": 8, "seed": 3}
    text = client.completions.create(**asked).choices[0].text
    (choice,) = client.completions.create(**asked, stop=["no such", text[4:6]]).choices
    assert (choice.model_extra or {})["stop_reason"] == text[4:6]
    body = {"input_prefix": "a", "model": "words", "n_predict": 8, "seed": 3, "stop": [text[4:6]]}
    answer = server.session.post(f"{server.url}/infill", json=body).json()
    assert (answer["stop_type"], answer["stopping_word"]) == ("word", text[4:6])


def test_log_probabilities_of_an_empty_answer_are_empty(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "llada", "max_tokens": 8, "seed": 3}
    text = client.completions.create(prompt="It was", **asked).choices[0].text
    (choice,) = client.completions.create(prompt="It was", logprobs=1, stop=text[0], **asked).choices
    told: Any = choice.logprobs
    assert (choice.text, told.tokens, told.token_logprobs, told.top_logprobs, told.text_offset) == ("", [], [], [], [])
    spoken = client.chat.completions.create(messages=CHAT, **asked).choices[0].message.content or "?"
    (turn,) = client.chat.completions.create(messages=CHAT, logprobs=True, stop=spoken[0], **asked).choices
    assert turn.logprobs is not None
    assert turn.logprobs.content == []


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_logprobs_are_those_of_the_text(client: OpenAI, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "max_tokens": 12, "seed": 3, "temperature": 1.0}
    (choice,) = client.completions.create(prompt="Once upon", logprobs=2, **asked).choices
    told: Any = choice.logprobs
    of_tokens = list(zip(told.tokens, told.token_logprobs, told.top_logprobs, told.text_offset, strict=True))
    assert of_tokens
    for token, logprob, top, offset in of_tokens:
        assert top[token] == logprob <= max(top.values()) <= 0
        assert choice.text[offset:].startswith(token) or "\ufffd" in token
    assert choice.text == client.completions.create(prompt="Once upon", **asked).choices[0].text
    own: Any = client.completions.create(prompt="Once upon", logprobs=0, **asked).choices[0].logprobs
    assert (own.tokens, own.token_logprobs) == (told.tokens, told.token_logprobs)
    assert all(list(top) == [token] for token, top in zip(own.tokens, own.top_logprobs, strict=True))


def test_chat_logprobs_are_the_same_streamed(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "llada", "max_tokens": 10, "seed": 3, "logprobs": True, "top_logprobs": 1}
    (choice,) = client.chat.completions.create(messages=CHAT, **asked).choices
    streamed = [
        token
        for chunk in client.chat.completions.create(messages=CHAT, stream=True, **asked)
        for told in (chunk.choices[0].logprobs,)
        for token in (told.content or [] if told else [])
    ]
    assert choice.logprobs is not None
    assert choice.logprobs.content == streamed
    whole = b"".join(bytes(token.bytes or []) for token in streamed)
    assert whole.decode(errors="replace") == choice.message.content


def test_the_canvas_comes_in_chunks_without_choices(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "parrot", "prompt": "abcdef", "seed": 1, "n": 2, "stream": True}
    plain = list(client.completions.create(**asked))
    assert all(chunk.choices for chunk in plain)
    drawn = list(client.completions.create(**asked, extra_body={"diffusing": True}))
    steps = [(chunk.model_extra or {})["diffusion"] for chunk in drawn if not chunk.choices]
    assert {step["index"] for step in steps} == {0, 1}
    assert steps[-1]["canvas"] == ["ab", "cd", "ef"]
    text = "".join(chunk.choices[0].text for chunk in drawn if chunk.choices and chunk.choices[0].index == 0)
    assert text == "abcdef"


def test_a_client_that_leaves_ends_all_choices(client: OpenAI, server: Server) -> None:
    before = server.wait_until_idle()
    with client.completions.create(model="endless", prompt="x", n=3, stream=True) as stream:
        assert next(iter(stream)).choices
    after = server.wait_until_idle(2.0)
    assert after["cancelled_requests"] == before["cancelled_requests"] + 3


def test_a_stream_that_breaks_reports_the_reason(client: OpenAI) -> None:
    stream = client.completions.create(model="breaks-later", prompt="x", stream=True)
    assert [next(stream).choices[0].text, next(stream).choices[0].text] == ["", "so far"]
    with pytest.raises(openai.APIError, match="broke while answering") as failure:
        next(stream)
    assert failure.value.code == "generation_failed"


def test_text_that_is_no_unicode_is_made_some(client: OpenAI) -> None:
    assert client.completions.create(model="surrogates", prompt="x").choices[0].text == "half ? pair"
