#!/usr/bin/env bash
# shell-gpt 1.5.1 with typer 0.29.2.
# Guess: `pip install shell-gpt` gives a command `sgpt` that starts.
# Instead: it imports click, which it does not require: it came with typer, which needs it no more. With click beside it, it starts.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet shell-gpt==1.5.1 typer==0.29.2 || exit 2

export HOME=$folder
asked() { "$folder/venv/bin/sgpt" --version 2>&1 | tail -n 1; }
without=$(asked || true)
"$folder/venv/bin/pip" install --quiet click || exit 2
beside=$(OPENAI_API_KEY=any asked)
required=$("$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import requires
print([name for name in ("shell-gpt", "typer") if any(each.startswith("click") for each in requires(name) or ())])
PYTHON
)
echo "version:  shell-gpt 1.5.1, typer 0.29.2"
echo "expected: the version, at once"
echo "seen:     $without; with click beside it: $beside; who requires click: $required"
[[ $without == *"No module named 'click'"* && $beside == *1.5.1* && $required == "[]" ]]
