"""Writes docs/api.md from the OpenAPI document of the app: `python docs/build_api_reference.py`.

A test compares the page with the code. The reasons of statuses, and everything else that depends on the version of
Python or of a library, are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from app.core.settings import Settings
from app.server import create_app

TARGET = Path(__file__).parent / "api.md"

INTRODUCTION = """\
# API reference

Made by `docs/build_api_reference.py` from the document that every server gives at `/openapi.json`: change the code, and
not this page. How the calls are used is in the [quickstart](quickstart.md) and the [tutorials](index.md#tutorials); who
may make them, and how often, in [operations](operations.md#before-you-open-it-to-a-network).
"""

CALLERS = {
    (): "everybody",
    ("adminToken",): "the admin: with the token, or, where none is set, from this machine",
    ("apiKey", "apiKeyAsBearer"): "everybody, or, where `DIFFUSION_API_KEYS` names keys, whoever sends one",
}

Json = dict[str, Any]


def reference(document: Json) -> str:
    """The page for an OpenAPI document."""
    calls: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            section = f"### `{method.upper()} {path}`\n\n{_call(operation)}"
            calls.setdefault(operation["tags"][0], []).append(section)
    parts = [INTRODUCTION]
    for tag, sections in calls.items():
        parts += [f"## Calls: {tag}\n", *sections]
    parts.append("## Bodies\n")
    parts.extend(f"### {name}\n\n{_body(schema)}" for name, schema in sorted(document["components"]["schemas"].items()))
    return "\n".join(parts)


def _call(operation: Json) -> str:
    schemes = tuple(name for scheme in operation.get("security", ()) for name in scheme)
    lines = [_flowing(operation.get("description", "")), "", f"- Who: {CALLERS[schemes]}"]
    for parameter in operation.get("parameters", ()):
        lines.append(f"- `{parameter['name']}` ({parameter['in']}): {_kind(parameter['schema'])}")
    if "requestBody" in operation:
        lines.append(f"- Body: {_content(operation['requestBody'])}")
    answers = [(status, _content(response)) for status, response in sorted(operation["responses"].items())]
    for content, group in groupby(answers, key=lambda answer: answer[1]):
        lines.append(f"- {', '.join(status for status, _ in group)}: {content}")
    return "\n".join([*lines, ""])


def _content(message: Json) -> str:
    """The content of a body in each of its media types."""
    kinds = ((media_type, _kind(content.get("schema", {}))) for media_type, content in message["content"].items())
    return "; ".join(f"{kind} (`{media_type}`)" for media_type, kind in kinds)


def _body(schema: Json) -> str:
    lines = [_flowing(schema.get("description", "")), ""] if "description" in schema else []
    if not schema.get("properties"):
        return "\n".join([*lines, _kind(schema), ""])
    lines += ["| field | what | default | meaning |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in schema.get("required", ()) else _default(field)
        meaning = _flowing(field.get("description", "")).replace("|", "\\|")
        lines.append(f"| `{name}` | {_kind(field)} | {default} | {meaning} |")
    return "\n".join([*lines, ""])


def _default(field: Json) -> str:
    return f"`{json.dumps(field['default'])}`" if field.get("default") is not None else ""


def _kind(schema: Json) -> str:
    """The kind of a value; null and empty are not named, since they mean that the field is left out."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    for choice in ("anyOf", "oneOf"):
        if choice in schema and not schema.get("properties"):
            return " or ".join(_kind(option) for option in schema[choice] if not _is_nothing(option))
    return ", ".join([_type(schema), *_bounds(schema)])


def _is_nothing(schema: Json) -> bool:
    return schema.get("type") == "null" or schema.get("maxLength") == 0


def _type(schema: Json) -> str:
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and values and not schema.get("properties"):
        return f"object of {_kind(values)}"
    if schema.get("properties"):
        return f"object with {', '.join(f'`{name}`' for name in schema['properties'])}"
    return str(schema.get("type", "anything"))


def _bounds(schema: Json) -> Iterator[str]:
    for unit, low, high in (("", "minimum", "maximum"), (" characters", "minLength", "maxLength")):
        if low in schema and high in schema:
            yield f"{_number(schema[low])} to {_number(schema[high])}{unit}"
        elif low in schema:
            yield f"at least {_number(schema[low])}{unit}"
        elif high in schema:
            yield f"at most {_number(schema[high])}{unit}"
    if "exclusiveMinimum" in schema:
        yield f"above {_number(schema['exclusiveMinimum'])}"
    if "maxItems" in schema:
        yield f"at most {schema['maxItems']} of them"


def _number(bound: float) -> float:
    """The bound as every release of Pydantic would write it: some say `1.0` for `1`."""
    return int(bound) if bound == int(bound) else bound


def _flowing(text: str) -> str:
    """The docstring in one line, for tables and lists."""
    return " ".join(text.split())


def built() -> str:
    """The page for this version of the app; the environment does not matter."""
    return reference(create_app(Settings(_env_file=None)).openapi())


if __name__ == "__main__":
    TARGET.write_text(built(), encoding="utf-8")
