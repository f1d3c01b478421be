"""Other people's clients, unmodified and in their default modes, ask for structured output.

Whoever wants to run these installs the extra `clients`; for the AI SDK `npm install ai @ai-sdk/openai zod`, and
NODE_PATH names its `node_modules`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from tests.api.serving import Server

pytestmark = pytest.mark.filterwarnings("ignore")  # what their packages warn of is theirs to mend

MODEL, MAX_TOKENS = "llada", 96
PROMPT = "Anne is 30 and has a cat."


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)
    pet: Literal["cat", "dog"]
    tags: list[Literal["tall", "quick"]] = Field(default_factory=list, max_length=2)


class Place(BaseModel):
    """A place."""

    town: Literal["Rome", "Oslo"]


@pytest.fixture
def url(server: Server) -> str:
    return f"{server.url}/v1"


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"needs the package {package}: extra clients")


@needs("instructor")
@pytest.mark.parametrize("is_partial", [False, True])
def test_instructor(url: str, is_partial: bool) -> None:
    instructor: Any = pytest.importorskip("instructor")
    openai: Any = pytest.importorskip("openai")
    client = instructor.from_openai(openai.OpenAI(base_url=url, api_key="none is needed"))
    common: Any = {"model": MODEL, "max_tokens": MAX_TOKENS, "response_model": Person, "max_retries": 0}
    messages = [{"role": "user", "content": PROMPT}]
    if is_partial:
        *_, person = client.chat.completions.create_partial(messages=messages, **common)
        Person.model_validate(person.model_dump())
    else:
        assert isinstance(client.chat.completions.create(messages=messages, **common), Person)


@needs("langchain_openai")
@pytest.mark.parametrize("method", [None, "function_calling"])
def test_langchain(url: str, method: str | None) -> None:
    langchain: Any = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(model=MODEL, base_url=url, api_key="none is needed", max_tokens=MAX_TOKENS)
    structured = model.with_structured_output(Person, **({} if method is None else {"method": method}))
    assert isinstance(structured.invoke(PROMPT), Person)
    assert isinstance(list(structured.stream(PROMPT))[-1], Person)


@needs("langchain_openai")
def test_langchain_calls_one_of_several(url: str) -> None:
    langchain: Any = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(model=MODEL, base_url=url, api_key="none is needed", max_tokens=MAX_TOKENS, seed=1)
    asking = model.bind_tools([Person, Place], tool_choice="any")
    (call,) = asking.invoke(PROMPT).tool_calls
    first, *others = asking.stream(PROMPT)
    (streamed,) = reduce(lambda one, other: one + other, others, first).tool_calls
    assert (streamed["name"], streamed["args"]) == (call["name"], call["args"])
    (Person if call["name"] == "Person" else Place).model_validate(call["args"])


@needs("pydantic_ai")
@pytest.mark.parametrize("kind", ["one tool", "several tools", "native"])
async def test_pydantic_ai(url: str, kind: str) -> None:
    pydantic_ai: Any = pytest.importorskip("pydantic_ai")
    models: Any = pytest.importorskip("pydantic_ai.models.openai")
    providers: Any = pytest.importorskip("pydantic_ai.providers.openai")
    provider = providers.OpenAIProvider(base_url=url, api_key="none is needed")
    outputs = {"one tool": Person, "several tools": [Person, Place], "native": pydantic_ai.NativeOutput(Person)}
    agent = pydantic_ai.Agent(
        models.OpenAIChatModel(MODEL, provider=provider),
        output_type=outputs[kind],
        model_settings={"max_tokens": MAX_TOKENS},
        retries=0,
    )
    expected = (Person, Place) if kind == "several tools" else Person
    assert isinstance((await agent.run(PROMPT)).output, expected)
    async with agent.run_stream(PROMPT) as answer:
        assert isinstance(await answer.get_output(), expected)


@needs("llm")
@pytest.mark.parametrize("is_streamed", [False, True])
def test_llm(url: str, is_streamed: bool) -> None:
    plugin: Any = pytest.importorskip("llm.default_plugins.openai_models")
    model = plugin.Chat(MODEL, model_name=MODEL, api_base=url, supports_schema=True)
    model.key = "none is needed"
    answer = model.prompt(PROMPT, schema=Person, stream=is_streamed, max_tokens=MAX_TOKENS).text()
    Person.model_validate_json(answer)


AI_SDK = """
import { generateObject, streamObject } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { z } from "zod";
const age = z.number().int().min(0).max(120);
const schema = z.object({ name: z.string().regex(/^[A-Z][a-z]{1,11}$/), age, pet: z.enum(["cat", "dog"]) });
const model = createOpenAI({ baseURL: process.argv[2], apiKey: "none is needed" }).chat(process.argv[3]);
const asked = { model, schema, prompt: process.argv[4], maxOutputTokens: 96, maxRetries: 0 };
const whole = (await generateObject(asked)).object;
const stream = streamObject(asked);
for await (const _ of stream.partialObjectStream);
const streamed = await stream.object;
console.log(JSON.stringify([whole, streamed]));
"""


@pytest.fixture
def ai_sdk(tmp_path: Path) -> Path:
    """A folder in which Node finds the AI SDK."""
    packages = Path(os.environ.get("NODE_PATH", "not there"))
    if shutil.which("node") is None or not (packages / "ai").is_dir() or not (packages / "@ai-sdk/openai").is_dir():
        pytest.skip("needs node, and NODE_PATH with the packages ai, @ai-sdk/openai and zod")
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "ask.mjs").write_text(AI_SDK, encoding="utf-8")
    return tmp_path


def test_the_ai_sdk(ai_sdk: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("url")
    command = ["node", "ask.mjs", url, MODEL, PROMPT]
    done = subprocess.run(command, cwd=ai_sdk, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for person in json.loads(done.stdout.splitlines()[-1]):
        Person.model_validate(person)
