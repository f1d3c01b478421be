"""Reports a run's progress: to `log.jsonl`, and to standard output as lines or, on a terminal, a progress bar."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LOG_NAME = "log.jsonl"


class RunLog:
    """The log of a run, one JSON object per line, with `kind`, `step`, `tokens`, `minutes` and `progress`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_NAME
        self._bar = progress_bar() if sys.stdout.isatty() else None

    def write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False)
        with self._path.open("a") as log:
            log.write(line + "\n")
        if self._bar is None:
            print(line, flush=True)
        else:
            self._show(self._bar, entry, line)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    @staticmethod
    def _show(bar: Any, entry: dict[str, Any], line: str) -> None:
        """Moves the bar for an entry with a loss, and prints other entries above it."""
        bar.n = min(100.0, 100 * entry["progress"])
        if entry["kind"] != "train":
            # The work of an earlier process must not count in the estimate of the remaining time.
            bar.initial = bar.n if entry["kind"] == "resumed" else bar.initial
            bar.write(line)
        else:
            bar.set_postfix_str(f"loss {entry['loss']:.3f}, {entry['tokens_per_second']:,} tokens/s", refresh=False)
        bar.refresh()


def progress_bar() -> Any:
    """A bar over the budget in percent; `None` if tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return None
    return tqdm(total=100.0, bar_format="{percentage:5.1f}%|{bar}| {elapsed}<{remaining}  {postfix}")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The entries of a run's log, without steps that were lost in an interruption and repeated.

    Raises:
        FileNotFoundError: the folder holds no log.
    """
    entries: list[dict[str, Any]] = []
    for line in (folder / LOG_NAME).read_text().splitlines():
        entry = json.loads(line)
        if entry["kind"] == "resumed":
            entries = [earlier for earlier in entries if earlier["step"] <= entry["step"]]
        entries.append(entry)
    return entries
