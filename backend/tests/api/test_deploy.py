"""The dashboard and the alerts ask for metrics that a server has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric

from tests.api.scraping import scrape
from tests.api.serving import Server

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "reynard-diffusion.json"
PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yml"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"

METRIC = re.compile(r"\b(?:reynard|process)_\w+")
MATCHED_LABEL = re.compile(r"(\w+)(?:=~|!~|!=|=)\"")
GROUPED_LABELS = re.compile(r"\bby \(([^)]*)\)")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
OF_PROMETHEUS = {"instance", "job", "le"}
RARE = {"requested", "answered", "rule", "direction", "action"}
"""Labels of metrics that have no samples here: no model stands in, and nothing is filtered."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    for variable in json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"][1:]:
        yield variable["query"]["query"]


@pytest.fixture(scope="module")
def metrics(server: Server) -> list[Metric]:
    server.answer("/generate", {"text": "x", "max_length": 4})
    return scrape(server)


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_expression_asks_for_what_there_is(metrics: list[Metric], expression: str) -> None:
    names = {metric.name + suffix for metric in metrics for suffix in SUFFIXES.get(metric.type, ())}
    asked = set(METRIC.findall(expression))
    assert asked <= names
    assert asked or expression.startswith("up{")
    labels = {label for metric in metrics for sample in metric.samples for label in sample.labels}
    grouped = {label.strip() for group in GROUPED_LABELS.findall(expression) for label in group.split(",")}
    assert grouped | set(MATCHED_LABEL.findall(expression)) <= labels | OF_PROMETHEUS | RARE


def test_every_metric_of_ours_is_shown(metrics: list[Metric]) -> None:
    shown = {name for panel in panels() for target in panel["targets"] for name in METRIC.findall(target["expr"])}
    ours = {metric.name for metric in metrics if metric.name.startswith("reynard_")} - {"reynard_build_info"}
    assert {name for name in ours if not any(other.startswith(name) for other in shown)} == set()


def test_panels_do_not_overlap_and_have_names_of_their_own() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells = [(x, y) for panel in board for x, y in _cells(panel["gridPos"])]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in board}) == len({panel["title"] for panel in board}) == len(board)


def test_alerts_say_what_is_wrong_and_how_urgent_it_is() -> None:
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]


def test_the_example_scrapes_with_the_admin_token_and_reads_the_alerts() -> None:
    example = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))
    assert example["rule_files"] == [ALERTS.name]
    (job,) = example["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["type"] == "Bearer"
    assert f'up{{job="{job["job_name"]}"}} == 0' in [rule["expr"] for rule in alerts()]


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return ((x, y) for x in columns for y in rows)
