from __future__ import annotations

import json

import pytest

from app.api.diffusion.errors import FORM
from app.api.errors.problem import Problem


@pytest.mark.parametrize(
    ("call", "has_text"), [("generate", True), ("infill/stream", True), ("read", False), ("%72ead", False)]
)
def test_a_request_that_was_too_slow_has_the_text_so_far_unless_it_reads(call: str, has_text: bool) -> None:
    problem = Problem(
        type="urn:x", title="Too slow", status=504, detail="…", code="timeout", instance=f"/api/diffusion/{call}"
    ).model_copy(update={"partial": True, "generated_text": "so far"})
    body = json.loads(bytes(FORM.response(problem, {}).body))
    assert ("partial" in body, "so far" in body.values()) == (has_text, has_text)
