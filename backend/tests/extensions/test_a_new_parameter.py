"""A parameter is said once: what a new one touches, tried with one that is not part of the program."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import click
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

import app
import reynard_diffusion
from app.cli.parameters import parameter_options
from app.core.parameters import ENGINE_NAMES, PARAMETERS, TYPES, Parameter, field_of
from app.engine.interface.params import Between, Count, DecodingParams, Share
from app.services.diffusion.families.llada import LLADA
from app.services.diffusion.models import Request
from app.services.diffusion.native import decoding as native
from app.services.diffusion.reports import ParameterBound
from tests.extensions.parameter_rows import disagreements

DECLARED = {"core/parameters.py", "services/diffusion/models.py", "engine/interface/params.py"}
"""Its row, and the two classes that static types want beside it."""

MADE = "reynard_diffusion/parameters.py"
"""The client's type, which `make docs` writes."""

ROW = Parameter("Only tokens at least so probable, beside the square of the best one.", ge=0.0, le=0.5)


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with one more line: `top_a: Annotated[float, Parameter(…)]`."""
    for table, entry in ((PARAMETERS, ROW), (TYPES, float), (ENGINE_NAMES, "top_a")):
        monkeypatch.setitem(table, "top_a", entry)


@dataclass(frozen=True, slots=True)
class ToyParams(DecodingParams):
    """The engine's class with one more line."""

    top_a: Share = 0.0


def toy_request() -> type[Request]:
    """The wire model with one more line; made in a test, for only there is the row in the table."""

    class ToyRequest(Request):
        top_a: float | None = field_of("top_a")

    return ToyRequest


def test_every_row_is_as_the_classes_beside_it_say() -> None:
    assert disagreements() == []


def test_a_row_that_classes_lack_is_named_with_these_classes(row: None) -> None:
    assert disagreements() == [
        "top_a: Request has no such field",
        "top_a: DecodingParams has no field top_a",
    ]


def test_a_field_without_a_row_is_named() -> None:
    class Odd(Request):
        top_a: float | None = None

    assert disagreements(request=Odd) == ["top_a: Odd has it, and it has no row"]


def test_a_class_that_disagrees_is_named(row: None) -> None:
    class Wider(Request):
        top_a: float | None = field_of("top_p")

    @dataclass(frozen=True, slots=True)
    class Whole(DecodingParams):
        top_a: Count = 1

    @dataclass(frozen=True, slots=True)
    class Narrow(DecodingParams):
        top_a: Annotated[float, Between(0.0, 0.4)] = 0.0

    assert disagreements(request=Wider, params=ToyParams) == [
        "top_a: Wider has other bounds or another description than the row"
    ]
    assert disagreements(toy_request(), Whole) == ["top_a: Whole says <class 'int'>, the row <class 'float'>"]
    assert disagreements(toy_request(), Narrow) == ["top_a: Narrow refuses some of what the row allows"]


def test_a_parameter_with_a_line_in_two_classes_reaches_the_engine(row: None, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = toy_request()
    monkeypatch.setattr(native, "DecodingParams", ToyParams)
    decoding: Any = native.decoding_params(LLADA, kind.model_validate({"max_length": 8, "top_a": 0.25}))
    assert (decoding.top_a, decoding.max_new_tokens) == (0.25, 8)
    assert native.decoding_params(LLADA, kind(max_length=8)) == ToyParams(8, block_length=32)


def test_a_parameter_with_a_line_in_two_classes_is_known_everywhere(row: None) -> None:
    kind = toy_request()
    with pytest.raises(ValidationError, match=r"less than or equal to 0\.5"):
        kind.model_validate({"top_a": 0.6})
    assert ParameterBound.of("top_a") == ParameterBound(minimum=0.0, maximum=0.5)
    assert PARAMETERS["top_a"].nearest(7) == 0.5

    @click.command()
    @parameter_options(kind)
    def ask(parameters: dict[str, Any]) -> None:
        click.echo(repr(parameters))

    assert "0.0<=x<=0.5" in CliRunner().invoke(ask, ["--top-a", "0.6"]).output
    assert CliRunner().invoke(ask, ["--top-a", "0.5"]).output == "{'top_a': 0.5}\n"


def test_rows_with_another_name_in_the_engine_say_so() -> None:
    assert {name: other for name, other in ENGINE_NAMES.items() if name != other} == {"max_length": "max_new_tokens"}


def naming(name: str) -> set[str]:
    """The files of the program and of its client that name a parameter."""
    server, client = Path(app.__file__).parent, Path(reynard_diffusion.__file__).parent
    word = re.compile(rf"\b{name}\b")
    found = [path for path in (*server.rglob("*.py"), *client.rglob("*.py")) if word.search(path.read_text("utf-8"))]
    return {str(path.relative_to(server if server in path.parents else client.parent)) for path in found}


@pytest.mark.parametrize(
    "name", ["confidence_factor", "confidence_margin", "entropy_bound", "stability_bound", "revoke_threshold"]
)
def test_the_parameter_of_a_commit_rule_is_named_in_four_files(name: str) -> None:
    (reading,) = naming(name) - DECLARED - {MADE}
    assert reading.startswith("engine/decoding/commit/")


def test_the_use_of_a_parameter_in_the_engine_is_not_declared_elsewhere() -> None:
    others = {path for path in naming("cfg_scale") if not path.startswith("engine/")}
    assert others == {"core/parameters.py", "services/diffusion/models.py", MADE}
