from __future__ import annotations

import io

import pytest
from rich.console import Console

from app.cli.canvas import CanvasState, Cell
from app.cli.drawing import CanvasDrawing, final_text
from app.cli.terminal import GLYPHS


def drawn(cells: list[Cell], *, prefix: str = "", suffix: str = "", height: int = 24, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=40,
        height=height,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        legacy_windows=False,
    )
    state = CanvasState()
    state.cells = tuple(cells)
    with console.capture() as captured:
        console.print(CanvasDrawing(state, prefix, suffix, GLYPHS[0]))
    return captured.get()


def test_masks_are_drawn_as_glyphs_and_tokens_as_text() -> None:
    cells = [Cell("one", 0.1), Cell(), Cell(" two", 0.9), Cell("<|endoftext|>")]
    assert drawn(cells, prefix="before ", suffix=" behind") == (
        "before one░ two· behind\nstep 0, 3 of 4 tokens decided\n"
    )


def test_the_colour_is_the_confidence() -> None:
    text = drawn([Cell("unsure", 0.0), Cell("sure", 1.0, is_new=True), Cell("unknown")], colour=True)
    assert "\x1b[38;2;230;159;0munsure\x1b[0m" in text
    assert "\x1b[1;38;2;0;158;115msure\x1b[0m" in text
    assert "0munknown" in text


def test_the_drawing_shows_that_it_waits_before_the_first_step() -> None:
    assert drawn([], prefix="given") == "given\nwaiting for the model, 0 s\n"


@pytest.mark.parametrize(("first_mask", "first_shown"), [(0, 0), (25, 23), (50, 41)])
def test_the_open_part_of_a_long_canvas_is_shown(first_mask: int, first_shown: int) -> None:
    """51 lines, and a terminal of 12."""
    cells = [Cell(f"line {number}\n") for number in range(first_mask)]
    cells += [Cell(), *(Cell(f"\nline {number}") for number in range(first_mask, 50))]
    lines = drawn(cells, height=12).splitlines()
    assert len(lines) == 11
    assert lines[0].removeprefix("░") == ("" if first_shown == first_mask == 0 else f"line {first_shown}")


def test_only_the_given_lines_near_the_canvas_are_shown_while_it_denoises() -> None:
    text = "".join(f"line {number}\n" for number in range(100))
    shown = drawn([Cell()], prefix=text, suffix=text)
    assert "line 0\n" in shown
    assert "line 99\n" in shown
    assert "line 50" not in shown
    assert final_text(text, "x", text).plain == f"{text}x{text}"


def test_control_characters_do_not_reach_a_terminal() -> None:
    evil = "a\x1b[2Jb\x07\x9b31m\r\nc\td"
    assert final_text(evil, evil, "").plain == "a�[2Jb��31m\nc\td" * 2
    assert "\x1b[2J" not in drawn([Cell(evil)], prefix=evil)
