#!/usr/bin/env bash
# mercury-api-client 0.1.0.
# Guess: a client that the package index serves can be imported once it is installed.
# Instead: `import mercury_client` fails with ModuleNotFoundError, for the wheel lacks the subpackage
#   `mercury_client.models` that its client imports. Mercury's API is spoken by OpenAI's client.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary mercury-api-client mercury-api-client==0.1.0 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import files, version

try:
    import mercury_client

    seen = f"imported {mercury_client.__name__}"
except ImportError as error:
    seen = f"{type(error).__name__}: {error}"
shipped = sorted({file.parent.as_posix() for file in files("mercury-api-client") or () if file.suffix == ".py"})
print(f"version:  mercury-api-client {version('mercury-api-client')}")
print("expected: imported mercury_client")
print(f"seen:     {seen}; the wheel has Python files in {', '.join(shipped)}")
sys.exit(0 if seen == "ModuleNotFoundError: No module named 'mercury_client.models'" else 1)
PYTHON
