"""The rules of the house that a program can check: docstrings, sizes, names and imports of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from statistics import median

BACKEND = Path(__file__).parents[2]
ROOT = BACKEND.parent
FOLDERS = [
    BACKEND / "app",
    BACKEND / "reynard_diffusion",
    BACKEND / "reynard_diffusion_server",
    BACKEND / "tests",
    ROOT / "training",
    ROOT / "benchmarks",
    ROOT / "docs",
]

PACKAGES = ("app/", "reynard_diffusion/", "reynard_diffusion_server/")
UNTRACKED = {".cache", "build"}

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

NO_SUBJECT = re.compile(
    r"(Of|Those|As many|As much|So many|So much|The same|What|Which|Where|When|Who|Whoever|Whose|How|Such|"
    r"By which|In which|For which|To which|On which|That which)\b"
)
"""The beginnings of a docstring that has no subject, or whose subject is a clause."""
PRIVATE_WORDS = re.compile(r"\b(told|tells|one's own|surety|surest|in company)\b")
"""The words of our own for which the field has others: sent, reported, a user's own, confidence, in a batch."""

BODIES = {
    "app/api/diffusion/models.py CleanupResponse",
    "app/api/diffusion/models.py ModelDetailsList",
    "app/api/diffusion/models.py ModelList",
    "app/api/diffusion/models.py ReloadResponse",
    "app/api/health.py ProbeAnswer",
    "app/api/llama_cpp/endpoints.py Health",
    "app/api/openai/answers.py AnswerMessage",
    "app/api/openai/answers.py Delta",
    "app/api/openai/logprobs.py Alternative",
    "app/api/openai/logprobs.py TokenLogprob",
    "app/api/openai/models.py ModelList",
    "app/api/openai/requests.py StreamOptions",
    "app/api/openai/messages.py TextPart",
    "app/services/diffusion/reports.py DiffusionHealth",
}
"""The bodies without a docstring, which would become a text of the OpenAPI document."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_text(node: ast.AST) -> bool:
    """Whether a statement is a text and nothing else."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@dataclass(frozen=True)
class Source:
    """A file of the source, parsed."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        base = BACKEND if self.path.is_relative_to(BACKEND) else ROOT
        return self.path.relative_to(base).as_posix()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree."""
        return list(ast.walk(self.tree))

    def functions(self) -> Iterator[Function]:
        return (node for node in self.nodes if isinstance(node, Function))

    def docstrings(self) -> Iterator[tuple[int, str]]:
        """The line and text of each docstring, those below constants and attributes included."""
        for node in self.nodes:
            if isinstance(node, ast.Expr) and is_text(node):
                yield node.lineno, ast.literal_eval(node.value)

    def public(self) -> Iterator[Documented]:
        """The module, its public classes and its public functions."""
        yield self.tree
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                yield node


@cache
def everything() -> list[Source]:
    """The files of the application, of its tests and of the programs beside it."""
    paths = sorted(path for folder in FOLDERS for path in folder.rglob("*.py") if not UNTRACKED & {*path.parts})
    return [Source(path, text, ast.parse(text)) for path in paths for text in [path.read_text("utf-8")]]


def app() -> list[Source]:
    return [source for source in everything() if source.name.startswith(PACKAGES)]


def length_of(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def figures(lengths: list[int]) -> str:
    """The figures by which the source is compared with other projects."""
    share = sum(length > MAX_FUNCTION_LINES for length in lengths) / len(lengths)
    return (
        f"{len(lengths)} functions: median {median(lengths):g} lines, longest {max(lengths)}, "
        f"{share:.1%} above {MAX_FUNCTION_LINES}"
    )


def test_no_function_is_long() -> None:
    functions = [(source.name, function) for source in app() for function in source.functions()]
    long = [f"{name}:{one.lineno} {one.name}" for name, one in functions if length_of(one) > MAX_FUNCTION_LINES]
    assert not long, f"{long}; {figures([length_of(function) for _, function in functions])}"


def test_no_file_is_long() -> None:
    assert not {source.name: n for source in app() if (n := source.text.count("\n")) > MAX_FILE_LINES}


def test_every_public_name_has_a_docstring() -> None:
    names = {
        f"{source.name} {getattr(node, 'name', 'itself')}"
        for source in app()
        for node in source.public()
        if not ast.get_docstring(node)
    }
    assert names == BODIES


def test_every_docstring_begins_with_a_subject() -> None:
    assert not [
        f"{source.name}:{line} {text.strip().splitlines()[0]}"
        for source in everything()
        for line, text in source.docstrings()
        if NO_SUBJECT.match(text.strip())
    ]


def test_every_docstring_stands_alone() -> None:
    """A second one behind it is a text that nobody finds."""
    assert not [
        f"{source.name}:{node.body[1].lineno}"
        for source in everything()
        for node in source.nodes
        if isinstance(node, Documented) and len(node.body) > 1 and all(map(is_text, node.body[:2]))
    ]


def test_docstrings_use_the_words_of_the_field() -> None:
    assert not [
        f"{source.name}:{line} {found[0]!r}"
        for source in everything()
        for line, text in source.docstrings()
        if source.path != Path(__file__) and (found := PRIVATE_WORDS.search(text))
    ]


def test_no_file_has_an_empty_name() -> None:
    assert not [source.name for source in app() if EMPTY_NAMES & {*Path(source.name).with_suffix("").parts}]


def test_no_import_is_relative_to_a_folder_above() -> None:
    assert not [
        f"{source.name}:{node.lineno}"
        for source in app()
        for node in source.nodes
        if isinstance(node, ast.ImportFrom) and node.level > 1
    ]


def test_files_that_others_rely_on_stay_where_they_are() -> None:
    """Their paths are part of what the project promises."""
    folders = {
        "": "main.py requirements.txt diffusion_config_example.env test_diffusion_api.py",
        "app/services/diffusion": "__init__.py diffusion_service.py models.py base.py",
        "app/api/diffusion": "__init__.py router.py endpoints.py admin.py models.py service.py",
    }
    promised = [Path(folder, name) for folder, names in folders.items() for name in names.split()]
    assert not [path for path in promised if not (BACKEND / path).is_file()]


def test_nothing_is_left_to_be_done() -> None:
    later = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert not [source.name for source in everything() if source.path != Path(__file__) and later.search(source.text)]
