"""Finds the chat template in a checkpoint folder, by the rules of Hugging Face transformers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

ReadText: TypeAlias = Callable[[str], str | None]
"""A function that gives the text of a file by its path inside the folder; `None` where there is none."""

FILE = "chat_template.jinja"
ADDITIONAL_FOLDER = "additional_chat_templates"
LEGACY_FILE = "chat_template.json"

logger = logging.getLogger(__name__)


def read_chat_template(folder: Path, read_text: ReadText, config: Mapping[str, Any]) -> str | None:
    """The default template from the template files, else from `tokenizer_config.json`, else from the legacy file.

    A folder whose templates cannot be used is reported by a warning in the log; conversations are then written plainly.

    Raises:
        TypeError, KeyError, ValueError: a template is no string, or the legacy file no JSON object.
    """
    declared = _of_files(folder, read_text) or config.get("chat_template")
    if declared is None:
        declared = _of_legacy_file(read_text)
    if declared is None:
        return None
    template = _default_of(declared)
    if template is None:
        names = ", ".join(sorted(_named(declared)))
        logger.warning("%s: none of the chat templates (%s) is called default, so none is used", folder, names)
    elif not template.strip():
        logger.warning("%s: the chat template is empty, so none is used", folder)
        return None
    return template


def _of_files(folder: Path, read_text: ReadText) -> dict[str, str]:
    """The templates by name; the one in the folder itself is the default."""
    paths = {path.stem: f"{ADDITIONAL_FOLDER}/{path.name}" for path in (folder / ADDITIONAL_FOLDER).glob("*.jinja")}
    texts = {name: read_text(path) for name, path in {"default": FILE, **paths}.items()}
    return {name: text for name, text in texts.items() if text is not None}


def _of_legacy_file(read_text: ReadText) -> Any:
    text = read_text(LEGACY_FILE)
    return None if text is None else json.loads(text)["chat_template"]


def _default_of(declared: Any) -> str | None:
    return declared if isinstance(declared, str) else _named(declared).get("default")


def _named(declared: Any) -> dict[str, str]:
    """The templates by name, from a mapping or from a list of entries with `name` and `template`."""
    named = declared if isinstance(declared, Mapping) else {entry["name"]: entry["template"] for entry in declared}
    if not all(isinstance(template, str) for template in named.values()):
        raise TypeError("chat_template must be a string, or hold strings by name")
    return dict(named)
