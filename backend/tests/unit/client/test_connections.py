from __future__ import annotations

from pathlib import Path

import pytest

from reynard_diffusion.connections import (
    CERTIFICATE_FILES,
    CERTIFICATE_FOLDER,
    Proxy,
    is_loopback,
    missing_certificates,
    proxy_for,
    unusable_variables,
    why_unusable,
)

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in (*CERTIFICATE_FILES, CERTIFICATE_FOLDER):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "a.localhost",
        "127.0.0.1",
        "127.8.9.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
    ],
)
def test_this_machine(host: str) -> None:
    assert is_loopback(f"http://{host}:8000/x")


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "10.0.0.1", "[fe80::1]", "notlocalhost"])
def test_other_machines(host: str) -> None:
    assert not is_loopback(f"http://{host}:8000")


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_known_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "proxy.example:3128")
    assert proxy_for("http://example.com") == Proxy("http://proxy.example:3128", name)
    assert proxy_for("http://localhost:8000") is None


def test_each_scheme_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:1")
    assert proxy_for("http://example.com") is None
    assert proxy_for("https://example.com") == Proxy("http://secure:1", "HTTPS_PROXY")


@pytest.mark.parametrize(
    ("exceptions", "url"),
    [
        ("*", "http://example.com"),
        ("example.com", "http://example.com"),
        (".example.com", "http://a.example.com"),
        ("*.example.com", "http://a.example.com"),
        (" other , EXAMPLE.com ", "http://a.example.com"),
        ("example.com:8000", "http://example.com:8000"),
        ("10.0.0.7", "http://10.0.0.7:8000"),
        ("10.0.0.0/8", "http://10.1.2.3"),
        ("10.0.0.5/8", "http://10.1.2.3"),
        ("fd00::/8", "http://[fd00::7]:8000"),
        ("fe80::1", "http://[fe80::1]"),
        ("[fe80::1]", "http://[fe80::1]"),
        ("[::1],10.0.0.0/8", "http://10.1.2.3"),
    ],
)
def test_exceptions(monkeypatch: pytest.MonkeyPatch, exceptions: str, url: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert proxy_for(url) is None


@pytest.mark.parametrize(
    "exceptions",
    ["", ",", "ample.com", "example.com:9", "10.0.0.0/33", "[", "]", "http://", "::1", "a b", "[::1]", "é"],
)
def test_no_exceptions(monkeypatch: pytest.MonkeyPatch, exceptions: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert proxy_for("http://example.com:8000") is not None


@pytest.mark.parametrize(
    "url",
    ["http://:8", "ftp://proxy", "http://proxy:99999", "http://proxy:x", "http://[::1", "socks4://proxy"],
)
def test_an_invalid_proxy_is_reported_by_its_variable_without_its_value(url: str) -> None:
    problem = why_unusable(Proxy(url, "HTTP_PROXY"))
    assert problem is not None
    assert problem.startswith("HTTP_PROXY names no proxy; give one such as http://host:3128")
    assert url not in problem


def test_a_socks_proxy_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reynard_diffusion.connections.find_spec", lambda name: None)
    problem = why_unusable(Proxy("socks5://proxy:1080", "ALL_PROXY"))
    assert problem == "ALL_PROXY names a SOCKS proxy, which needs 'pip install socksio'; install that, or unset it"
    monkeypatch.setattr("reynard_diffusion.connections.find_spec", lambda name: object())
    assert why_unusable(Proxy("socks5://user:secret@proxy:1080", "ALL_PROXY")) is None


def test_missing_certificates_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert missing_certificates(["SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"]) == ["SSL_CERT_FILE"]


def test_every_variable_that_makes_a_library_fail_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unusable_variables() == []
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:x")
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", "localhost,[::1]")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/gone.pem")
    assert unusable_variables() == ["HTTP_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"]
