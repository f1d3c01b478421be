from __future__ import annotations

import stat
from pathlib import Path

import click
import pytest

from app.cli.commands.infill import Gap, _gap, _replace
from app.cli.failure import Failure
from app.cli.text_input import text_of_file


def test_the_marker_is_the_gap() -> None:
    assert _gap("a <FILL> b", "<FILL>") == Gap("a ", " b")
    assert _gap("a ### b", "###").filled("x") == "a x b"


@pytest.mark.parametrize(("text", "marker"), [("none", "<FILL>"), ("<FILL><FILL>", "<FILL>"), ("text", "")])
def test_the_marker_must_occur_once(text: str, marker: str) -> None:
    with pytest.raises(click.UsageError, match="put it once, where the gap is"):
        _gap(text, marker)


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "windows.py"
    path.write_bytes(b"\xef\xbb\xbfdef f():\r\n    <FILL>\r\n")
    gap = _gap(text_of_file(path), "<FILL>")
    assert gap.for_model() == gap == Gap("\ufeffdef f():\r\n    ", "\r\n")
    _replace(path, gap.filled("x = 1\r\n    return x"))
    assert path.read_bytes() == b"\xef\xbb\xbfdef f():\r\n    x = 1\r\n    return x\r\n"


def test_the_model_sees_the_text_next_to_the_gap(capsys: pytest.CaptureFixture[str]) -> None:
    gap = Gap("a" * 6_000 + "b" * 3_000, "c" * 6_000)
    prefix, suffix = gap.for_model()
    assert (prefix, suffix) == ("a" * 2_000 + "b" * 3_000, "c" * 5_000)
    assert "5000 characters" in capsys.readouterr().err
    assert gap.filled("x") == gap.prefix + "x" + gap.suffix


def test_a_file_keeps_its_mode_and_its_links(tmp_path: Path) -> None:
    path, link = tmp_path / "script.sh", tmp_path / "link.sh"
    path.write_text("old")
    path.chmod(0o750)
    link.symlink_to(path)
    _replace(link, "new")
    assert (path.read_text(), link.is_symlink()) == ("new", True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link.sh", "script.sh"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept.py"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(Failure, match="No space left on device; it is as it was"):
        _replace(path, "new")
    assert (path.read_text(), len(list(tmp_path.iterdir()))) == ("old", 1)


def test_input_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"ok \xff")
    with pytest.raises(Failure, match=r"binary is no text in UTF-8: invalid start byte at byte 3"):
        text_of_file(path)
    with pytest.raises(Failure, match="cannot be read: No such file"):
        text_of_file(tmp_path / "absent")
