"""The SDK for agents of OpenAI, by chat completions: text, streams, a typed answer and a named function."""

import asyncio
import sys
from typing import Any

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI, BadRequestError
from pydantic import BaseModel

QUESTION = "How old is Anne?"


class Person(BaseModel):
    age: int


@function_tool
def greet(name: str) -> str:
    """Greets a person."""
    return f"Hello, {name}"


def agent(model: OpenAIChatCompletionsModel, max_tokens: int, tool_choice: str | None = None, **given: Any) -> Any:
    settings = ModelSettings(max_tokens=max_tokens, temperature=0, tool_choice=tool_choice)
    return Agent(name="one", model=model, model_settings=settings, **given)


async def ask(url: str) -> None:
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    model = OpenAIChatCompletionsModel(model="llada", openai_client=client)
    whole = (await Runner.run(agent(model, 8), QUESTION)).final_output
    running = Runner.run_streamed(agent(model, 8), QUESTION)
    events = [event.data async for event in running.stream_events() if event.type == "raw_response_event"]
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 1
    assert "".join(pieces) == running.final_output == whole
    typed = await Runner.run(agent(model, 48, output_type=Person), QUESTION)
    assert isinstance(typed.final_output, Person)
    tools = {"tools": [greet], "tool_use_behavior": "stop_on_first_tool"}
    called = await Runner.run(agent(model, 48, tool_choice="greet", **tools), QUESTION)
    assert called.final_output.startswith("Hello, ")
    try:
        await Runner.run(agent(model, 48, **tools), QUESTION)
        status = 200
    except BadRequestError as error:
        status = error.status_code
    assert status == 400


set_tracing_disabled(True)
asyncio.run(ask(sys.argv[1]))
