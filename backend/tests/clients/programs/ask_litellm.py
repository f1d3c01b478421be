"""litellm's routes to servers such as this one: OpenAI's words, Mistral's, Mercury's and Ollama's."""

import sys

import litellm

litellm.suppress_debug_info = True
SERVER = sys.argv[1]
V1 = f"{SERVER}/v1"
HELLO = [{"role": "user", "content": "How old is Anne?"}]
KEY = {"api_key": "none is needed", "num_retries": 0, "max_retries": 0}
LIMIT = {"max_tokens": 8}


def chat(route: str, base: str) -> None:
    """Asks for a turn in both ways. The route of Mercury refuses a seed by itself, before it sends anything."""
    fixed = {} if route == "inception" else {"seed": 1}
    common = {"model": f"{route}/llada", "api_base": base, "messages": HELLO, **LIMIT, **KEY, **fixed}
    whole = litellm.completion(**common).choices[0].message.content
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(**common, stream=True))
    assert streamed == whole or not fixed, route


def gap(route: str, base: str) -> None:
    common = {"model": f"{route}/dreamon", "api_base": base, "prompt": "def f(", "suffix": "return x\n", **LIMIT, **KEY}
    assert litellm.text_completion(**common).choices[0].text is not None, route


chat("openai", V1)
chat("hosted_vllm", V1)
chat("mistral", V1)
chat("inception", V1)
chat("ollama", SERVER)
chat("ollama_chat", SERVER)
gap("text-completion-openai", V1)
gap("hosted_vllm", V1)
gap("text-completion-codestral", f"{V1}/fim/completions")
