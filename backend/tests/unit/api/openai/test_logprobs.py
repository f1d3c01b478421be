from app.api.openai.logprobs import chat_logprobs, text_logprobs

TOLD = [
    {
        "token": "é", "bytes": [195, 169], "logprob": -0.5, "offset": 0,
        "top": [{"token": "e", "bytes": [101], "logprob": -0.25}],
    },
    {"token": "!", "bytes": [33], "logprob": -1.0, "offset": 1, "top": []},
]  # fmt: skip


def test_a_completions_are_four_lists() -> None:
    told = text_logprobs(TOLD)
    assert told.tokens == ["é", "!"]
    assert told.token_logprobs == [-0.5, -1.0]
    assert told.top_logprobs == [{"e": -0.25, "é": -0.5}, {"!": -1.0}]
    assert told.text_offset == [0, 1]


def test_a_chats_are_a_list_of_tokens() -> None:
    first, second = chat_logprobs(TOLD).model_dump()["content"]
    assert first == {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "e", "logprob": -0.25, "bytes": [101]}],
    }
    assert second["top_logprobs"] == []
