"""OpenAI's client: models, completions, gaps, chat, functions, streams and refusals."""

import sys

import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none is needed", max_retries=0)
HELLO = [{"role": "user", "content": "How old is Anne?"}]
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}

assert {"llada", "dreamon"} <= {model.id for model in client.models.list()}
assert client.models.retrieve("llada").id == "llada"

common = {"model": "llada", "prompt": "It was", "max_tokens": 8, "seed": 1}
whole = client.completions.create(**common, logprobs=2)
assert len(whole.choices[0].logprobs.tokens) == whole.usage.completion_tokens
chunks = list(client.completions.create(**common, stream=True, stream_options={"include_usage": True}))
assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
assert chunks[-1].usage == whole.usage
echoed = client.completions.create(**{**common, "prompt": [1, 2, 3]}, echo=True)
assert echoed.usage.prompt_tokens == 3
gap = client.completions.create(model="llada", prompt=[[1, 2], [3]], suffix="x", echo=True, max_tokens=4)
assert len(gap.choices) == 2
assert client.completions.create(**{**common, "prompt": "x"}, extra_body={"logit_bias": [["a", False]]}).choices
assert client.completions.create(model="dreamon", prompt="def f(", suffix="return x\n", max_tokens=8).choices

turn = {"model": "llada", "messages": HELLO, "max_tokens": 24, "seed": 1}
said = client.chat.completions.create(**turn).choices[0].message.content
stream = client.chat.completions.create(**turn, stream=True, extra_body={"diffusing": True})
assert "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices) == said

tool = {"type": "function", "function": {"name": "note", "parameters": SCHEMA}}
choice = {"type": "function", "function": {"name": "note"}}
call = client.chat.completions.create(**turn, tools=[tool], tool_choice=choice).choices[0].message.tool_calls[0]
assert call.function.name == "note"
json_schema = {"name": "age", "schema": SCHEMA, "strict": True}
with client.chat.completions.stream(
    **turn, response_format={"type": "json_schema", "json_schema": json_schema}
) as events:
    assert events.get_final_completion().choices[0].finish_reason == "stop"

for refused, status in (
    (lambda: client.completions.create(**common, extra_body={"min_tokens": 4}), 400),
    (lambda: client.chat.completions.create(**{**turn, "model": "none"}), 404),
    (lambda: client.responses.create(model="llada", input="x"), 404),
    (lambda: client.embeddings.create(model="llada", input="x"), 404),
):
    try:
        refused()
        seen = 200
    except openai.APIStatusError as error:
        seen = error.status_code
    assert seen == status, (seen, status)
