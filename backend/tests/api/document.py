"""The OpenAPI document, made once for all tests of a process."""

from __future__ import annotations

from functools import cache
from typing import Any

from app.core.settings import Settings
from app.server import create_app


@cache
def openapi_document() -> dict[str, Any]:
    """The document of a server without settings."""
    return create_app(Settings(_env_file=None)).openapi()
