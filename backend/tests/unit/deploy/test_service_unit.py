from __future__ import annotations

import re
from pathlib import Path

from app.server import ENDING_S, FINISHING_S

ROOT = Path(__file__).parents[4]
UNIT = (ROOT / "deploy" / "systemd" / "reynard-diffusion.service").read_text(encoding="utf-8")


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)", UNIT, re.MULTILINE)


def test_it_starts_what_the_checkout_has() -> None:
    (command,) = values("ExecStart")
    _, program = command.split(" ")
    assert (ROOT / program.removeprefix("/opt/reynard-diffusion/")).exists()


def test_the_server_has_time_to_end() -> None:
    assert int(values("TimeoutStopSec")[0]) > FINISHING_S + ENDING_S


def test_a_wrong_setting_is_not_tried_again() -> None:
    # Exit status 2: tests/api/test_start.py.
    assert values("Restart") == ["on-failure"]
    assert values("RestartPreventExitStatus") == ["2"]


def test_what_it_may_write_is_its_cache() -> None:
    assert values("ProtectSystem") == ["strict"]
    (directory,) = values("CacheDirectory")
    assert f"HF_HOME=/var/cache/{directory}" in UNIT
    assert values("ReadWritePaths") == []
