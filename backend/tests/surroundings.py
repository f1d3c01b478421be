"""Hides the settings in the user's environment from the tests, and from the programs that they start."""

from __future__ import annotations

import os

from app.core.settings import ENV_PREFIX

ABOUT_TERMINALS = ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE")
ABOUT_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
ABOUT_HUBS = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN", "TRANSFORMERS_OFFLINE")
ABOUT_PYTHON = ("PYTHONPATH", "PYTHONWARNINGS", "PYTHONSAFEPATH")


def forget_surroundings() -> None:
    """Removes settings of this project, colours, proxies and hubs from the environment of this process, which its
    children inherit."""
    unwanted = {*ABOUT_TERMINALS, *ABOUT_PROXIES, *ABOUT_HUBS, *ABOUT_PYTHON}
    for name in list(os.environ):
        if name.startswith(ENV_PREFIX) or name.upper() in unwanted:
            del os.environ[name]
