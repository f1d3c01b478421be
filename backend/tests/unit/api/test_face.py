from __future__ import annotations

import pytest
from fastapi import APIRouter

from app.api.errors.form import PROBLEM_JSON, form_of
from app.api.errors.openai_problem import OPENAI_FORM
from app.api.face import UNDECLARED, Face, Faces
from app.api.wire.kinds import Kind, kind_of

ONE = Face(
    name="one",
    router=APIRouter(),
    kinds={
        "GET /one/things": Kind.READING,
        "POST /one/settings": Kind.OPERATING,
        "/one/settings": Kind.READING,
        "/one/open/*": Kind.OPEN,
        "/one/*": Kind.GENERATING,
    },
    errors=OPENAI_FORM,
)
TWO = Face(name="two", router=APIRouter(), kinds={"/": Kind.OPEN | Kind.PROBE})


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/one/things", Kind.READING),
        ("HEAD", "/one/things", Kind.READING),
        ("POST", "/one/things", Kind.GENERATING),
        ("POST", "/one/settings", Kind.OPERATING),
        ("DELETE", "/one/settings", Kind.READING),
        ("GET", "/one/open/page", Kind.OPEN),
        ("GET", "/one/open", Kind.GENERATING),
        ("GET", "/one/no-such", Kind.GENERATING),
        ("GET", "/", Kind.OPEN | Kind.PROBE),
        ("GET", "/nobody", Kind.GENERATING),
    ],
)
def test_the_nearest_declaration_of_a_path_gives_the_kind(method: str, path: str, kind: Kind) -> None:
    assert Faces([ONE, TWO]).at(path).kind(method) == kind


def test_an_undeclared_path_belongs_to_no_face() -> None:
    faces = Faces([ONE, TWO])
    assert faces.at("/nobody") is UNDECLARED
    assert faces.at("/one/no-such").face is ONE
    assert faces.at("/").face is TWO


def test_a_request_has_the_declarations_of_its_face() -> None:
    scope = {"type": "http", "method": "GET", "path": "/one/things", "state": {"other": 1}}
    Faces([ONE]).note(scope)
    assert (kind_of(scope), form_of(scope)) == (Kind.READING, OPENAI_FORM)
    assert scope["state"]["other"] == 1  # type: ignore[index]


def test_a_request_without_notes_is_treated_as_undeclared() -> None:
    scope = {"type": "http"}
    assert (kind_of(scope), form_of(scope)) == (Kind.GENERATING, PROBLEM_JSON)
