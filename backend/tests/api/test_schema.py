"""The OpenAPI document against the server that gives it: no request that can be made from the document makes a server
error, and every answer is one that the document foretells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import schemathesis
from pydantic import TypeAdapter
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema

from app.api.ollama.answers import OllamaAnswer
from app.api.ollama.errors import OllamaError
from app.services.diffusion.models import DiffusionStreamEvent
from tests.api.document import openapi_document
from tests.api.serving import ANSWER_TIMEOUT_S, Server, serving
from tests.fuzz.event_stream import lines_of, messages_of
from tests.profiles import is_thorough

Case: TypeAlias = "schemathesis.Case[Any]"

DEADLINE_S = 0.5
"""The deadline of this server's answers, which bounds the longest request that can be made up."""

OLLAMAS_LINE: TypeAdapter[OllamaAnswer | OllamaError] = TypeAdapter(OllamaAnswer | OllamaError)

CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 1,
        "generation": {"deterministic": True, "max-examples": 100 if is_thorough() else 10, "no-shrink": True},
        "checks": {
            # Switched off by a configuration change, no model that can answer, or out of time: all foretold.
            "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "503", "504"]},
            # Wrong data may also be too large, or come where nothing can answer.
            "negative_data_rejection": {"expected-statuses": ["4xx", "503", "504"]},
            # What one model takes another refuses, and a document cannot tell which names models have.
            "positive_data_acceptance": {"enabled": False},
        },
        # Other words for the same requests, and other ways to answer them.
        "operations": [
            {
                "include-path-regex": "^/(v1/|infill|api/(chat|generate|show)$)|/(infill|stream)$",
                "phases": {"coverage": {"enabled": is_thorough()}},
            }
        ],
    }
)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Server]:
    """A server for generated requests, configuration changes among them; it downloads nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        settings = {"DEFAULT_MODEL": "words", "TIMEOUT_SECONDS": str(DEADLINE_S), "MAX_LENGTH": "4"}
        with serving(tmp_path_factory.mktemp("schema"), plugin, **settings) as running:
            running.wait_until_ready()
            yield running


@pytest.fixture(scope="module")
def configuration(own_server: Server) -> dict[str, Any]:
    """As the server was started."""
    before: dict[str, Any] = own_server.get("/config").json()
    return before


def foretells_every_event(context: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """A body of JSON lines has no schema as a whole; its events have."""
    if response.headers.get("content-type") != ["application/x-ndjson"]:
        return
    events = lines_of([response.content])
    if not case.path.startswith("/api/diffusion"):
        of_ollama = [OLLAMAS_LINE.validate_python(event) for event in events]
        assert all(isinstance(line, OllamaAnswer) and not line.done for line in of_ollama[:-1])
        return
    types = [DiffusionStreamEvent.model_validate(event, strict=True).type for event in events]
    assert types[0] == "start"
    assert types[-1] in ("complete", "error")
    assert not {"start", "complete", "error"} & set(types[1:-1])


def foretells_every_message(context: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """The fields of Server-Sent Events are checked by the document; this checks the events in their data. Of a long
    stream only the beginning was read."""
    is_stream = response.headers.get("content-type") == ["text/event-stream; charset=utf-8"]
    if is_stream and case.path.startswith("/api/diffusion"):
        for number, message in enumerate(messages_of([response.content])):
            event = DiffusionStreamEvent.model_validate_json(message.data, strict=True)
            assert (message.event, message.last_event_id) == (event.type, str(number))


@pytest.fixture(scope="module")
def described() -> BaseSchema:
    """All operations, read when the tests run: every test process collects this file, and one of them runs it."""
    return schemathesis.openapi.from_dict(openapi_document(), config=CONFIG)


@pytest.fixture(autouse=True)
def _with_an_id_to_change(request: pytest.FixtureRequest) -> None:
    """Gives a test the attribute in which Schemathesis notes the operation that is asked; pytest 9.2 has it no more."""
    request.node._nodeid = request.node.nodeid


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
def test_every_answer_is_documented(case: Case, own_server: Server, configuration: dict[str, Any]) -> None:
    ask(own_server, case)
    if case.method == "POST" and case.path.endswith("/config"):
        own_server.answer("/config", configuration)


@schema.exclude(path_regex="(?<!/stream)$").parametrize()  # `include` would add to all that the configuration includes
def test_every_server_sent_event_is_documented(case: Case, own_server: Server) -> None:
    ask(own_server, case, Accept="text/event-stream")


def ask(server: Server, case: Case, **headers: str) -> None:
    checks: list[schemathesis.CheckFunction] = [foretells_every_event, foretells_every_message]
    case.call_and_validate(server.url, server.session, headers, additional_checks=checks, timeout=ANSWER_TIMEOUT_S)


def test_the_document_is_the_one_that_the_server_gives(own_server: Server) -> None:
    response = own_server.session.get(f"{own_server.url}/openapi.json", timeout=ANSWER_TIMEOUT_S)
    assert response.json() == json.loads(json.dumps(openapi_document()))


def test_nothing_above_was_unexpected(own_server: Server) -> None:
    own_server.wait_until_idle()
    assert "unexpected error" not in own_server.log
    assert "Exception in ASGI application" not in own_server.log
