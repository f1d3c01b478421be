#!/usr/bin/env bash
# huggingface_hub 2.4.0.
# Guess: offline, `snapshot_download` of a repository that was never downloaded raises, whatever `local_dir` is.
# Instead: it raises only where `local_dir` is missing or empty. If the folder holds any file, such as a note, its path
#   is returned as if the repository were there; a line in the log is the only sign.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0 || exit 2

HF_HUB_OFFLINE=1 HF_HOME="$folder/home" "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError

root = Path(sys.argv[1])


def outcome(target: Path) -> str:
    """Tells whether a download into the folder returned or raised."""
    try:
        returned = huggingface_hub.snapshot_download("owner/never-downloaded", local_dir=target)
    except LocalEntryNotFoundError:
        return "raised LocalEntryNotFoundError"
    return "returned the folder" if Path(returned) == target.resolve() else f"returned {returned}"


missing, empty, noted = root.resolve() / "missing", root.resolve() / "empty", root.resolve() / "noted"
empty.mkdir()
noted.mkdir()
(noted / "note.txt").write_text("weights go here\n")
seen = {folder.name: outcome(folder) for folder in (missing, empty, noted)}
print(f"version:  huggingface_hub {huggingface_hub.__version__}")
print("expected: raises in all three cases, for nothing of the repository is on the disk")
print(f"seen:     {seen}; files in the third: {[path.name for path in noted.iterdir()]}")
raised = "raised LocalEntryNotFoundError"
sys.exit(0 if seen == {"missing": raised, "empty": raised, "noted": "returned the folder"} else 1)
PYTHON
