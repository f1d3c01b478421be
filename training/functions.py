"""Cuts Python files into functions: docstrings, comments and blank lines removed, dedented."""

from __future__ import annotations

import ast
import io
import textwrap
import tokenize
import warnings
from collections.abc import Iterator

MAX_LINE_LENGTH = 110
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def functions_of(source: str, min_lines: int, max_lines: int) -> Iterator[str]:
    """The functions and methods of `source` with `min_lines` to `max_lines` lines after cleaning, in order.

    Nested functions come with their owner. A file that does not parse gives none, and a function that cleaning would
    break is left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes like "\d" in other people's strings
            tree = ast.parse(source)
        lines = _without_comments(source)
    except (SyntaxError, ValueError, tokenize.TokenError):
        return
    for node in _outermost_functions(tree):
        text = _clean(node, lines)
        if min_lines <= text.count("\n") <= max_lines and _is_sound(text):
            yield text


def _outermost_functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from _outermost_functions(child)


def _without_comments(source: str) -> list[str]:
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return lines


def _clean(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    dropped: set[int] = set()
    for node in ast.walk(function):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            dropped.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    kept = [
        lines[row - 1].rstrip()
        for row in range(first, (function.end_lineno or first) + 1)
        if row not in dropped and lines[row - 1].strip()
    ]
    return textwrap.dedent("\n".join(kept)) + "\n"


def _is_sound(text: str) -> bool:
    if "\t" in text or max(map(len, text.splitlines())) > MAX_LINE_LENGTH:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True
