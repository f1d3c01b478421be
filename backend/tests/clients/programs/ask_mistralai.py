"""Mistral's client: fill-in-the-middle and chat, streamed too."""

import sys

from mistralai.client import Mistral

client = Mistral(api_key="none is needed", server_url=sys.argv[1])
gap = {"model": "dreamon", "prompt": "def f(", "suffix": "return x\n", "max_tokens": 8, "random_seed": 1}
whole = client.fim.complete(**gap).choices[0].message.content
pieces = [event.data.choices[0].delta.content or "" for event in client.fim.stream(**gap)]
assert "".join(pieces) == whole

turn = {"model": "llada", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "random_seed": 1}
said = client.chat.complete(**turn).choices[0].message.content
assert "".join(event.data.choices[0].delta.content or "" for event in client.chat.stream(**turn)) == said
