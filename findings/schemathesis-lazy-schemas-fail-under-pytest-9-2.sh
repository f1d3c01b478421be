#!/usr/bin/env bash
# schemathesis 4.32.5 with pytest 9.2.0 (which its requirements allow).
# Guess: a schema from a fixture (`schemathesis.pytest.from_fixture`), the documented way where an OpenAPI document is only known
#   once an application has been made, runs like a schema made at import.
# Instead: every such test fails with AttributeError before its first request: the plug-in reads a private attribute of the
#   test node that this pytest no longer has (9.1.1 has it, and there both run). Schemas made at import run.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet schemathesis==4.32.5 pytest==9.2.0 || exit 2

cat > "$folder/test_document.py" <<'PYTHON'
import pytest
import schemathesis

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "One path", "version": "1"},
    "paths": {"/numbers": {"get": {"responses": {"200": {"description": "All of them"}}}}},
}


@pytest.fixture
def document():
    return schemathesis.openapi.from_dict(DOCUMENT)


made_at_import = schemathesis.openapi.from_dict(DOCUMENT)
made_by_fixture = schemathesis.pytest.from_fixture("document")


@made_at_import.parametrize()
def test_of_a_schema_made_at_import(case):
    assert case.path == "/numbers"


@made_by_fixture.parametrize()
def test_of_a_schema_made_by_a_fixture(case):
    assert case.path == "/numbers"
PYTHON
cd "$folder"
"$folder/venv/bin/python" -m pytest -q --disable-warnings -p no:cacheprovider test_document.py > output.txt 2>&1 || true
echo "version:  $("$folder/venv/bin/pip" list --format freeze 2>/dev/null | grep -E '^(schemathesis|pytest)==' | sort | paste -sd ' ')"
echo "expected: both tests pass"
echo "seen:     $(grep -E '^E +AttributeError' output.txt | head -1 | sed 's/^E *//'); $(tail -1 output.txt | tr -d '=' | sed 's/ in [0-9.]*s//')"
grep -q "AttributeError: 'Function' object has no attribute '_nodeid'" output.txt && grep -q "1 failed" output.txt && grep -Eq "[1-9][0-9]* passed" output.txt
