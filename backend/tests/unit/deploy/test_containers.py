"""Checks that Dockerfile and compose files agree with each other and with other files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from app.core.settings import ENV_PREFIX, Settings
from app.server import ENDING_S, FINISHING_S

ROOT = Path(__file__).parents[4]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CACHE = "/var/cache/reynard-diffusion"


def loaded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return content


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    sources = [name for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE) for name in line.split()]
    copied = {name for name in sources if name == "LICENSE" or name.startswith("backend/")}
    admitted = re.findall(r"^!(.+)", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert copied == set(admitted)
    assert all((ROOT / name).exists() for name in copied)


def test_versions_are_those_that_are_tested() -> None:
    torch = re.search(r"^TORCH \?= torch==(.+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert torch is not None
    assert set(re.findall(r"^ARG TORCH=(.+)", DOCKERFILE, re.MULTILINE)) == {torch[1]}
    tested = loaded(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    assert re.findall(r"^ARG PYTHON=(.+)", DOCKERFILE, re.MULTILINE) == [max(row["python"] for row in tested)]


def test_settings_of_the_image_are_settings() -> None:
    given = dict(re.findall(rf"{ENV_PREFIX}(\w+)=(\S+)", re.split(r"^ENV ", DOCKERFILE, flags=re.MULTILINE)[-1]))
    assert {name.lower() for name in given} <= set(Settings.model_fields)
    assert f"EXPOSE {given['PORT']}" in DOCKERFILE


def test_extras_of_the_image_exist() -> None:
    project = tomllib.loads((ROOT / "backend" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r'"\.\[(\w+)\]"', DOCKERFILE)) <= set(project["optional-dependencies"])


def test_downloaded_checkpoints_outlive_a_container() -> None:
    assert f"HF_HOME={CACHE}" in DOCKERFILE
    assert f"VOLUME {CACHE}" in DOCKERFILE
    assert f"checkpoints:{CACHE}" in loaded("compose.yaml")["services"]["server"]["volumes"]


def test_the_server_has_time_to_end() -> None:
    grace = loaded("compose.yaml")["services"]["server"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > FINISHING_S + ENDING_S


def test_ports_are_published_to_this_machine_only() -> None:
    services = loaded("compose.yaml")["services"].values()
    assert all(port.startswith("127.0.0.1:") for service in services for port in service["ports"])


def test_files_that_are_mounted_exist() -> None:
    mounts = [mount for service in loaded("compose.yaml")["services"].values() for mount in service["volumes"]]
    sources = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(sources) == 4
    assert all((ROOT / source).exists() for source in sources)


def test_the_gpu_file_changes_the_same_server() -> None:
    services = loaded("compose.gpu.yaml")["services"]
    assert set(services) <= set(loaded("compose.yaml")["services"])
    assert f"AS torch-{services['server']['build']['args']['VARIANT']}\n" in DOCKERFILE


def test_prometheus_differs_from_the_example_in_the_address_only() -> None:
    here, example = loaded("deploy/prometheus/compose.yml"), loaded("deploy/prometheus/prometheus.yml")
    (job,) = here["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["server:8000"]}]
    job["static_configs"] = example["scrape_configs"][0]["static_configs"]
    assert here == example


def test_grafana_finds_dashboard_and_prometheus() -> None:
    provisioning = "deploy/grafana/provisioning"
    (provider,) = loaded(f"{provisioning}/dashboards/reynard-diffusion.yml")["providers"]
    (source,) = loaded(f"{provisioning}/datasources/prometheus.yml")["datasources"]
    mounts = loaded("compose.yaml")["services"]["grafana"]["volumes"]
    assert any(mount.split(":")[1].startswith(provider["options"]["path"] + "/") for mount in mounts)
    assert source["url"] == "http://prometheus:9090"
