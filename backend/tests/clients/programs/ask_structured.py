"""Clients that ask for structured output in their default modes, and for text."""

import asyncio
import sys

import instructor
import openai
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI, OpenAI
from llm.default_plugins.openai_models import Chat
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

SERVER = sys.argv[1]
V1 = f"{SERVER}/v1"
KEY = "none is needed"
QUESTION = "How old is Anne?"


class Person(BaseModel):
    """A person."""

    age: int = Field(ge=0, le=120)


client = instructor.from_openai(openai.OpenAI(base_url=V1, api_key=KEY))
asked = {"model": "llada", "max_tokens": 48, "response_model": Person, "max_retries": 0}
assert isinstance(client.chat.completions.create(messages=[{"role": "user", "content": QUESTION}], **asked), Person)

chat = ChatOpenAI(model="llada", base_url=V1, api_key=KEY, max_tokens=48)
assert isinstance(chat.with_structured_output(Person).invoke(QUESTION), Person)
assert list(
    ChatOpenAI(model="llada", base_url=V1, api_key=KEY, max_tokens=8, logprobs=True, top_logprobs=2).stream("Hi")
)
assert isinstance(OpenAI(model="llada", base_url=V1, api_key=KEY, max_tokens=8).invoke("It was"), str)

of_ollama = ChatOllama(model="llada", base_url=SERVER, num_predict=48, validate_model_on_init=True)
assert isinstance(of_ollama.with_structured_output(Person).invoke(QUESTION), Person)
assert list(of_ollama.stream(QUESTION))


async def ask_agents() -> None:
    """Asks by a tool, by a schema, and for text."""
    model = OpenAIChatModel("llada", provider=OpenAIProvider(base_url=V1, api_key=KEY))
    for output, kind in ((Person, Person), (NativeOutput(Person), Person), (str, str)):
        agent = Agent(model, output_type=output, model_settings={"max_tokens": 48, "seed": 1}, retries=0)
        assert isinstance((await agent.run(QUESTION)).output, kind)


asyncio.run(ask_agents())

plugin = Chat("llada", model_name="llada", api_base=V1, supports_schema=True)
plugin.key = KEY
for is_streamed in (False, True):
    Person.model_validate_json(plugin.prompt(QUESTION, schema=Person, stream=is_streamed, max_tokens=48).text())
    assert plugin.prompt("Hi", stream=is_streamed, max_tokens=8).text() is not None
