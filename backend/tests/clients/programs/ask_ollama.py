"""Ollama's client: models, generation, gaps, chat, formats and refusals."""

import sys

import ollama

client = ollama.Client(host=sys.argv[1])
OPTIONS = {"num_predict": 8, "seed": 1}
HELLO = [{"role": "user", "content": "How old is Anne?"}]
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}

whole = client.generate("llada", "It was", options=OPTIONS)
parts = list(client.generate("llada", "It was", options=OPTIONS, stream=True))
assert "".join(part.response for part in parts) == whole.response
assert parts[-1].done
assert client.generate("dreamon", "def f(", suffix="return x\n", options=OPTIONS).done
assert {"dreamon:latest", "llada:latest"} <= {model.model for model in client.list().models}
assert client.show("dreamon").capabilities == ["completion", "insert"]
assert client.chat("llada", HELLO, format=SCHEMA, options={"num_predict": 48, "seed": 1}).message.content[0] == "{"
try:
    client.pull("llada")
    status = 200
except ollama.ResponseError as error:
    status = error.status_code
assert status == 400
