"""Both clients against a scripted server."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

from reynard_diffusion import (
    DEFAULT_URL,
    AsyncDiffusionClient,
    ConnectionLost,
    DiffusionClient,
    DiffusionError,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerUnreachable,
    Unavailable,
    UnexpectedAnswer,
)
from reynard_diffusion.options import ClientOptions
from tests.unit.client.scripted import EVENTS, PROBLEM, Answer, scripted

RESULT = {"model_id": "m", "processing_time": 1.0, "tokens_generated": 1, "metadata": {"seed": 3}}
GOOD = Answer(body=json.dumps({"generated_text": "text", **RESULT}))
BUSY = Answer(429, "{}", {"Retry-After": "0"}, PROBLEM)


def stream(*events: dict[str, Any]) -> Answer:
    return Answer(body="".join(f"data: {json.dumps(event)}\n\n" for event in events), media_type=EVENTS)


TOKEN = {"type": "token", "data": "text"}
COMPLETE = {"type": "complete", "metadata": {**RESULT, "seed": 3}}


async def generated(url: str, **options: Any) -> str:
    """The text that both clients give."""
    with DiffusionClient(url, **options) as client:
        text = client.generate("x").text
    async with AsyncDiffusionClient(url, **options) as other:
        assert (await other.generate("x")).text == text
    return text


async def test_a_refused_call_is_made_again() -> None:
    with scripted(BUSY, BUSY, GOOD, BUSY, GOOD) as server:
        assert await generated(server.url) == "text"
        assert len(server.requests) == 5


@pytest.mark.parametrize(("options", "num_calls"), [({}, 3), ({"max_retries": 0}, 1), ({"max_retries": 5}, 6)])
async def test_retries_end_and_can_be_switched_off(options: dict[str, Any], num_calls: int) -> None:
    with scripted(BUSY) as server:
        with pytest.raises(RateLimited), DiffusionClient(server.url, **options) as client:
            client.generate("x")
        assert len(server.requests) == num_calls
        async with AsyncDiffusionClient(server.url, **options) as other:
            with pytest.raises(RateLimited):
                await other.generate("x")
        assert len(server.requests) == 2 * num_calls


async def test_a_stream_is_asked_for_again_until_it_has_begun() -> None:
    with scripted(BUSY, stream(TOKEN, COMPLETE), BUSY, stream(TOKEN, COMPLETE)) as server:
        with DiffusionClient(server.url) as client:
            assert client.generate_stream("x").result().text == "text"
        async with AsyncDiffusionClient(server.url) as other:
            assert (await other.generate_stream("x").result()).text == "text"
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (stream(TOKEN, {"type": "error", "data": "full", "metadata": {"code": "queue_full"}}), Unavailable),
        (stream(TOKEN), ConnectionLost),
    ],
)
async def test_a_stream_is_never_asked_for_again_after_it_has_begun(answer: Answer, kind: type[DiffusionError]) -> None:
    with scripted(answer) as server:
        with DiffusionClient(server.url) as client, client.generate_stream("x") as events:
            assert next(events).data == "text"
            with pytest.raises(kind):
                next(events)
        async with AsyncDiffusionClient(server.url) as other, other.generate_stream("x") as more:
            assert (await anext(more)).data == "text"
            with pytest.raises(kind):
                await anext(more)
        assert len(server.requests) == 2


async def test_no_request_is_sent_before_the_first_event_is_read() -> None:
    with scripted(GOOD) as server, DiffusionClient(server.url) as client:
        with client.generate_stream("x"):
            pass
        async with AsyncDiffusionClient(server.url) as other, other.infill_stream("x"):
            pass
        assert server.requests == []


async def test_keys_and_tokens_go_where_they_belong() -> None:
    health = Answer(503, json.dumps({"healthy": False, "status": "unhealthy", "models": {}, "devices": {}}))
    with scripted(GOOD, health) as server:
        with DiffusionClient(server.url, api_key="key", admin_token="token") as client:
            client.generate("x")
            assert server.header("Authorization") == "Bearer key"
            assert client.health().status == "unhealthy", "an answer, for all its status"
            assert server.header("Authorization") == "Bearer token"
        with DiffusionClient(server.url) as client:
            client.health()
            assert server.header("Authorization") is None
    assert len(server.requests) == 3, "and no refusal, in spite of its status"


@pytest.mark.parametrize("answer", [Answer(body="<html>", media_type="text/html"), Answer(body="[]"), Answer()])
def test_another_server_is_noticed(answer: Answer) -> None:
    with scripted(answer) as server, DiffusionClient(server.url) as client:
        for call in (client.ping, client.models, client.stats, lambda: client.generate_stream("x").result()):
            with pytest.raises(UnexpectedAnswer, match="check the URL"):
                call()


def test_an_id_of_a_model_cannot_leave_its_path() -> None:
    with scripted(Answer(404, "{}")) as server, DiffusionClient(server.url) as client:
        with pytest.raises(NotFound):
            client.reload("../../config?x=1")
        assert server.paths == ["/api/diffusion/admin/models/..%2F..%2Fconfig%3Fx%3D1/reload"]


async def test_no_server_at_the_url() -> None:
    url = "http://127.0.0.1:9"
    with DiffusionClient(url) as client, pytest.raises(ServerUnreachable, match="reynard-diffusion serve"):
        client.ping()
    async with AsyncDiffusionClient(url) as other:
        with pytest.raises(ServerUnreachable):
            await other.ping()


def test_no_proxy_is_used_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with scripted(GOOD) as server, DiffusionClient(server.url) as client:
        assert client.generate("x").text == "text"


GONE = "/gone/ca.pem"
ENVIRONMENTS = [
    *[{name: "http://127.0.0.1:9"} for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")],
    *[{"NO_PROXY": value} for value in ("[::1]", "localhost,[::1]", "10.0.0.0/8,fd00::/8", "::1", "fe80::%eth0", "[")],
    {"no_proxy": "10.0.0.0/8,fd00::/8", "HTTP_PROXY": "http://127.0.0.1:9"},
    *[
        {"ALL_PROXY": value}
        for value in ("socks5://127.0.0.1:9", "socks4://x", "nonsense://", "http://[", "http://x:y")
    ],
    *[{name: GONE} for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")],
]


@pytest.mark.parametrize(
    "variables", ENVIRONMENTS, ids=lambda variables: " ".join(f"{k}={v}" for k, v in variables.items())
)
async def test_a_server_on_this_machine_ignores_proxies_and_certificates_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with scripted(GOOD) as server:
        for host in ("127.0.0.1", "localhost"):
            assert await generated(server.url.replace("127.0.0.1", host)) == "text"


@pytest.mark.parametrize("client", [DiffusionClient, AsyncDiffusionClient])
@pytest.mark.parametrize(
    ("url", "variables", "reason"),
    [
        ("http://server.example", {"HTTP_PROXY": "http://x:y"}, "HTTP_PROXY names no proxy"),
        ("http://server.example", {"all_proxy": "nonsense://x"}, "all_proxy names no proxy"),
        ("https://server.example", {"HTTPS_PROXY": "http://["}, "HTTPS_PROXY names no proxy"),
        ("https://server.example", {"SSL_CERT_FILE": GONE}, "SSL_CERT_FILE names a place that is not there"),
        ("https://server.example", {"SSL_CERT_DIR": GONE}, "SSL_CERT_DIR names a place that is not there"),
        ("https://server.example", {"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE names cannot be read"),
    ],
)
def test_an_unusable_variable_is_named_for_a_server_on_another_machine(
    monkeypatch: pytest.MonkeyPatch, client: type[DiffusionClient], url: str, variables: dict[str, str], reason: str
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=reason):
        client(url)


def test_a_proxy_on_the_way_is_named_where_the_server_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    told = r"server\.example through the proxy that HTTP_PROXY names"
    with DiffusionClient("http://server.example") as client, pytest.raises(ServerUnreachable, match=told):
        client.ping()


def test_a_proxy_is_used_where_the_environment_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(GOOD) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with DiffusionClient("http://server.example") as client:
            assert client.generate("x").text == "text"
        assert proxy.paths == ["http://server.example/api/diffusion/generate"]


async def test_a_value_that_cannot_be_sent_is_an_error_of_the_client() -> None:
    with scripted(GOOD) as server:
        parameters: list[Any] = [
            {"temperature": float("nan")},
            {"stop": {"a"}},
            {"stop": [b"a"]},
            {"model_id": "\udce9"},
        ]
        for wrong in parameters:
            with DiffusionClient(server.url) as client:
                for call in (client.generate, lambda text, **own: client.generate_stream(text, **own).result()):
                    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
                        call("x", **wrong)
            async with AsyncDiffusionClient(server.url) as other:
                with pytest.raises(InvalidRequest, match=next(iter(wrong))):
                    await other.generate("x", **wrong)
        assert server.requests == [], "nothing was sent"


@pytest.mark.parametrize(
    ("call", "arguments", "parameters", "message"),
    [
        ("likelihood", ["a text"], {}, "texts has to be a list"),
        ("likelihood", [None], {}, "texts has to be a list"),
        ("read", ["a text"], {}, "parts has to be a list"),
        ("read", [{"hole": "x"}], {}, "parts has to be a list"),
        ("chat_stream", ["hello"], {}, "messages has to be a list"),
        ("chat_stream", [{"role": "user", "content": "hello"}], {}, "messages has to be a list"),
        ("chat_stream", [[]], {"n": 2}, "n asks for several answers, whose pieces would come mixed; leave it out"),
        (
            "chat_stream",
            [[]],
            {"tool_choice": "required"},
            "tool_choice asks for a call of a function, which is no text; leave it out",
        ),
        ("decide", ["x", ["a"]], {}, "questions has to be a dictionary from names to questions"),
    ],
)
async def test_what_would_silently_be_something_else_is_an_error_of_the_client(
    call: str, arguments: list[Any], parameters: dict[str, Any], message: str
) -> None:
    async def asked(client: Any) -> None:
        answer = getattr(client, call)(*arguments, **parameters)
        await (anext(answer) if call == "chat_stream" else answer)

    with DiffusionClient("http://127.0.0.1:9") as client, pytest.raises(InvalidRequest) as caught:
        [*getattr(client, call)(*arguments, **parameters)]
    assert [error.message for error in caught.value.errors] == [str(caught.value)] == [message]
    assert message.startswith(f"{caught.value.errors[0].field} ")
    async with AsyncDiffusionClient("http://127.0.0.1:9") as other:
        with pytest.raises(InvalidRequest, match=message):
            await asked(other)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/api/diffusion", "/api/diffusion/", "//", "/#top", "  "])
def test_a_url_may_lead_to_a_part_of_the_api(end: str) -> None:
    with scripted(GOOD) as server, DiffusionClient(server.url + end) as client:
        client.generate("x")
        assert server.paths == ["/api/diffusion/generate"]


def test_a_server_may_lie_below_a_path() -> None:
    with scripted(GOOD) as server, DiffusionClient(f"{server.url}/models/v1") as client:
        client.generate("x")
        assert server.paths == ["/models/api/diffusion/generate"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "http://",
        "http://host:99999",
        "",
        "http://a b",
        "http://[",
        "http://host?x=1",
        f"http://{'a' * 64}.com",
    ],
)
def test_an_invalid_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=f"is no address of a server; give one such as {DEFAULT_URL}$"):
        DiffusionClient(url)


@pytest.mark.parametrize("url", ["localhost:8000", "host/v1", "127.0.0.1"])
def test_a_url_without_a_scheme_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ValueError, match=f"is no address of a server; give one such as http://{url}"):
        DiffusionClient(url)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_is_a_time(seconds: float) -> None:
    for name in ("timeout_s", "connect_timeout_s"):
        with pytest.raises(ValueError, match=f"{name}=.* must be a positive number of seconds"):
            DiffusionClient(**{name: seconds})  # type: ignore[arg-type]


def test_a_key_that_no_header_can_carry_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="look for a line end"):
        DiffusionClient(api_key="key\n")


def test_a_key_does_not_show() -> None:
    assert "hidden" not in repr(ClientOptions("http://host", "hidden", "hidden", 1, 1, 0, 0))


def test_the_two_clients_have_the_same_calls() -> None:
    def calls(client: type) -> dict[str, list[str]]:
        members = inspect.getmembers(client, inspect.isfunction)
        return {name: list(inspect.signature(call).parameters) for name, call in members if not name.startswith("_")}

    plain, other = calls(DiffusionClient), calls(AsyncDiffusionClient)
    assert other.pop("aclose") == plain.pop("close")
    assert plain == other
    assert inspect.signature(DiffusionClient) == inspect.signature(AsyncDiffusionClient)


def test_importing_the_client_imports_nothing_heavy() -> None:
    heavy = ["app", "torch", "numpy", "fastapi", "tokenizers", "pydantic"]
    code = f"import sys, reynard_diffusion; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
