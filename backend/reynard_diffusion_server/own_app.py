"""Imports the server's package `app`, whatever else has that name."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
"""The folder in which the server's packages lie side by side."""


def import_own_app() -> None:
    """Makes the `app` beside this package the one of the process, also where another comes first on `sys.path`.

    Raises:
        ImportError: another one has been imported before.
    """
    if (found := sys.modules.get("app")) is None:
        _import()
        return
    place = Path(next(iter(getattr(found, "__path__", [getattr(found, "__file__", None) or "made by a program"]))))
    if place.resolve() != HOME / "app":
        raise ImportError(
            f"another package named app, {place}, was imported before, and the server's code has that name too; import "
            "reynard_diffusion_server first where the other one is not needed, else run 'reynard-diffusion serve' in a "
            "process of its own and ask it with the package reynard_diffusion"
        )


def _import() -> None:
    spec = PathFinder.find_spec("app", [str(HOME)])
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no package app in {HOME}; install reynard-diffusion again")
    sys.modules["app"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
