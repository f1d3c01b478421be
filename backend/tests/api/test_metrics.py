"""Metrics as Prometheus reads them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.api.scraping import samples, scrape, value
from tests.api.serving import WITHOUT_WEIGHTS, Json, Server, serving

INFILLING: Json = {"prefix": "The fox", "suffix": "the dog", "model_id": "llada", "max_length": 8, "seed": 1}


def test_a_request_moves_the_counters(server: Server) -> None:
    before = scrape(server)
    answer = server.answer("/infill", INFILLING)
    server.wait_until_idle()
    after = scrape(server)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("requests_total", operation="infill", model="llada", outcome="successful") == 1
    assert grown("request_duration_seconds_count", model="llada") == 1
    assert grown("queue_time_seconds_count", model="llada") == 1
    assert grown("time_to_first_text_seconds_count", model="llada") == 1
    assert grown("generated_tokens_total", model="llada") == answer["tokens_generated"]
    assert grown("denoising_steps_total", model="llada") == answer["metadata"]["denoising_steps"]
    assert grown("engine_forward_passes_total", model="llada") >= answer["metadata"]["denoising_steps"]
    assert grown("engine_busy_seconds_total", model="llada") > 0
    assert grown("http_responses_total", route="/api/diffusion/infill", status="2xx") == 1


def test_the_gauges_report_loaded_models_and_memory(server: Server) -> None:
    metrics = scrape(server)
    assert value(metrics, "model_loaded", model="dreamon") == 1
    assert value(metrics, "model_available", model="never-ready") == 0
    assert value(metrics, "model_weights_bytes", model="dreamon", device="cpu") > 0
    used, size = (value(metrics, f"device_memory_{name}_bytes", device="cpu") for name in ("used", "size"))
    assert 0 < used < size


def test_failures_are_counted_by_code_and_streams_that_are_left_as_cancelled(server: Server) -> None:
    before = scrape(server)
    server.post("/generate", {"text": "x", "model_id": "nobody"})
    server.post("/generate", {"text": "x", "model_id": "breaks-at-once"})
    with server.post("/generate/stream", {"text": "x", "model_id": "endless"}, stream=True) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert value(scrape(server), "requests_in_flight") == 1
    server.wait_until_idle()
    after = scrape(server)
    for name, code in (("refused_requests_total", "unknown_model"), ("request_failures_total", "generation_failed")):
        assert value(after, name, code=code) == value(before, name, code=code) + 1
    labels = {"model": "endless", "outcome": "cancelled"}
    assert value(after, "requests_total", **labels) == value(before, "requests_total", **labels) + 1


def test_nothing_that_a_client_makes_up_becomes_a_label(server: Server) -> None:
    for path in ("/made-up", "/admin/models/made-up/reload", "/made-up?made-up=made-up"):
        server.post(path, {"made-up": "made-up"})
    server.post("/generate", {"text": "made-up", "model_id": "made-up"})
    server.session.request("MADE-UP", f"{server.url}/made-up", timeout=60)
    metrics = scrape(server)
    assert "made-up" not in str(metrics)
    routes = {sample.labels["route"] for sample in samples(metrics, "http_responses_total")}
    assert {"", "/api/diffusion/admin/models/{model_id}/reload"} <= routes


def test_metrics_and_statistics_agree(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.post, "/infill", INFILLING) for _ in range(8)]
        while not all(answer.done() for answer in asked):
            scrape(server)
    statistics, metrics = server.wait_until_idle(), scrape(server)
    for outcome in ("successful", "failed", "cancelled"):
        assert value(metrics, "requests_total", outcome=outcome) == statistics[f"{outcome}_requests"]
    assert value(metrics, "generated_tokens_total") == statistics["total_tokens_generated"]
    assert value(metrics, "requests_in_flight") == statistics["requests_in_flight"] == 0


def test_stand_ins_and_hits_of_the_filter_are_counted(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "names"\nterms = ["Osiris"]\naction = "mask"\n')
    absent = str(tmp_path / "absent")
    with serving(tmp_path / "troubled", DREAMON_PATH=absent, CONTENT_FILTER=str(rules)) as troubled:
        troubled.wait_until_ready()
        troubled.answer("/generate", {"text": "Osiris and Osiris", "max_length": 4})
        metrics = scrape(troubled)
    assert value(metrics, "model_fallbacks_total", requested="dreamon", answered="llada") == 1
    assert value(metrics, "filter_hits_total", rule="names", direction="input", action="mask") == 2


def test_open_metrics_where_it_is_asked_for(server: Server) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    response = server.session.get(f"{server.url}/metrics", headers=accept, timeout=60)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=new", "text/plain; version=1.x; escaping="])
def test_a_version_that_is_no_number_gets_the_plain_format(server: Server, accept: str) -> None:
    response = server.session.get(f"{server.url}/metrics", headers={"Accept": accept}, timeout=60)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")


def test_they_are_for_the_holder_of_the_admin_token(tmp_path: Path, plugin: Path) -> None:
    with serving(tmp_path / "guarded", plugin, ADMIN_TOKEN="right", API_KEYS="key", **WITHOUT_WEIGHTS) as guarded:
        url = f"{guarded.url}/metrics"
        assert requests.get(url, timeout=60).status_code == 401
        for credentials, status in (("key", 401), ("right", 200)):
            headers = {"Authorization": f"Bearer {credentials}"}
            assert requests.get(url, headers=headers, timeout=60).status_code == status
        for probe in ("live", "ready"):
            assert requests.get(f"{guarded.url}/health/{probe}", timeout=60).status_code in (200, 503)
