from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec

import pytest

HAS_RAY = find_spec("ray") is not None

if HAS_RAY:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of itself when it is imported
        import_module("ray.serve")

NEED_RAY = ("board_caller", "deployment", "errors", "model_replica", "overload", "service", "start")
collect_ignore = [] if HAS_RAY else [f"test_{name}.py" for name in NEED_RAY]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("ray") and not HAS_RAY:
            item.add_marker(
                pytest.mark.skip(
                    reason="ray is not installed: pip install -e backend/reynard_diffusion -e 'backend[ray]'"
                )
            )
