"""HEAD, OPTIONS and `Allow` on every path that the server has."""

from __future__ import annotations

import http.client

import pytest

from tests.api.document import openapi_document
from tests.api.serving import Server

PATHS = {path.replace("{model_id}", "llada"): operations for path, operations in openapi_document()["paths"].items()}
NOT_DESCRIBED = ["/", "/read", "/playground/main.js", "/openapi.json"]
READ = [*(path for path, operations in PATHS.items() if "get" in operations), *NOT_DESCRIBED]
SENT = [path for path, operations in PATHS.items() if "get" not in operations]
CHANGING = {"date", "x-request-id", "content-length"}


def exchange(server: Server, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of a call by a library that reads a body wherever there is one."""
    connection = http.client.HTTPConnection("localhost", server.port, timeout=60)
    connection.request(method, path)
    response = connection.getresponse()
    answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.request("GET", "/health/live")  # what came behind the head of an answer would be taken for this one's
    assert connection.getresponse().status == 200
    connection.close()
    return answer


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_its_body(server: Server, path: str) -> None:
    got_status, got, _ = exchange(server, "GET", path)
    status, headers, body = exchange(server, "HEAD", path)
    assert (status, body) == (got_status, b"") == (200, b"")
    assert headers.keys() == got.keys()
    assert {name: headers[name] for name in headers.keys() - CHANGING} == {
        name: got[name] for name in got.keys() - CHANGING
    }


@pytest.mark.parametrize("path", SENT)
def test_head_of_what_cannot_be_read_says_what_can_be_done(server: Server, path: str) -> None:
    status, headers, body = exchange(server, "HEAD", path)
    assert (status, headers["allow"], body) == (405, "POST, OPTIONS", b"")


@pytest.mark.parametrize("path", [*READ, *SENT])
def test_options_names_exactly_the_methods_that_are_taken(server: Server, path: str) -> None:
    status, headers, body = exchange(server, "OPTIONS", path)
    assert (status, body) == (204, b"")
    expected = {"OPTIONS"} | ({"GET", "HEAD"} if path in READ else set())
    expected |= {"POST"} if "post" in PATHS.get(path, {}) else set()
    assert set(headers["allow"].split(", ")) == expected
    refused, refusal, _ = exchange(server, "DELETE", path)
    assert (refused, refusal["allow"]) == (405, headers["allow"])


def test_an_unknown_path_has_no_methods(server: Server) -> None:
    for method in ("HEAD", "OPTIONS", "GET"):
        status, headers, _ = exchange(server, method, "/no-such")
        assert (status, "allow" in headers) == (404, False)


def test_head_is_logged_as_what_it_was(server: Server) -> None:
    offset = len(server.log)
    exchange(server, "HEAD", "/v1/models")
    assert "method=HEAD path=/v1/models status=200" in server.log[offset:]
