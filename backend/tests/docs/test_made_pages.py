"""The pages that programs in docs/ have written are up to date."""

from __future__ import annotations

import runpy

import pytest

from tests.docs.markdown import ROOT


@pytest.mark.parametrize(
    ("program", "made"),
    [
        ("build_api_reference.py", "built"),
        ("build_client_parameters.py", "built"),
        ("build_parameter_table.py", "built"),
        ("build_memory_table.py", "built"),
        ("draw_spans.py", "draw"),
    ],
)
def test_it_is_up_to_date(program: str, made: str) -> None:
    names = runpy.run_path(str(ROOT / "docs" / program))
    written = names["TARGET"].read_text(encoding="utf-8")
    assert written == names[made](), f"run: python docs/{program}"
