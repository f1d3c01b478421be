from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.cli.canvas import MASK, CanvasState, Cell
from reynard_diffusion import DiffusionStreamEvent


def step(canvas: list[str | None], **told: Any) -> DiffusionStreamEvent:
    data = {"canvas": canvas, "committed": [], "expanded": [], "deleted": [], "step": 1, **told}
    return DiffusionStreamEvent(type="step", data=data)


def commit(index: int, text: str, confidence: float = 0.5) -> dict[str, Any]:
    return {"index": index, "text": text, "confidence": confidence}


def test_it_follows_commits_expansions_and_deletions() -> None:
    state = CanvasState()
    state.follow(step([None, "b", None, None], committed=[commit(1, "b", 0.9)], expanded=[2]))
    assert list(state.cells) == [MASK, Cell("b", 0.9, is_new=True), MASK, MASK]
    state.follow(step(["a", "b", None], committed=[commit(0, "a", 0.2)], deleted=[3], step=2))
    assert list(state.cells) == [Cell("a", 0.2, is_new=True), Cell("b", 0.9), MASK]
    assert state.num_steps == 2


def test_a_skipped_snapshot_loses_confidences_but_no_text() -> None:
    state = CanvasState()
    state.follow(step(["a", None, None], committed=[commit(0, "a")]))
    state.follow(step(["a", "b", "c", None], committed=[commit(2, "c")], step=5))
    assert list(state.cells) == [Cell("a", 0.5), Cell("b"), Cell("c", 0.5, is_new=True), MASK]


def test_final_text_adds_up() -> None:
    state = CanvasState()
    for piece in ("one", " two"):
        state.follow(DiffusionStreamEvent(type="token", data=piece))
    assert state.text == "one two"


def test_a_user_s_own_model_may_report_less() -> None:
    state = CanvasState()
    state.follow(DiffusionStreamEvent(type="step", data={"canvas": [None, "x"], "step": 1}))
    assert list(state.cells) == [MASK, Cell("x")]


@given(st.data())
def test_with_every_snapshot_every_confidence_is_known(data: st.DataObject) -> None:
    """The cells equal those that are edited one by one."""
    truth: list[Cell] = [MASK] * data.draw(st.integers(1, 8))
    state = CanvasState()
    for number in range(data.draw(st.integers(1, 8))):
        masks = [index for index, cell in enumerate(truth) if cell.text is None]
        chosen = data.draw(st.lists(st.sampled_from(masks), unique=True)) if masks else []
        fates = {index: data.draw(st.sampled_from(["commit", "expand", "delete"])) for index in chosen}
        told: dict[str, list[Any]] = {"committed": [], "expanded": [], "deleted": []}
        edited: list[Cell] = []
        for index, old in enumerate(truth):
            fate, text = fates.get(index), f"{number}.{index}"
            if fate == "commit":
                told["committed"].append(commit(index, text, index / 10))
                edited.append(Cell(text, index / 10, is_new=True))
            elif fate == "expand":
                told["expanded"].append(index)
                edited += [MASK, MASK]
            elif fate == "delete":
                told["deleted"].append(index)
            else:
                edited.append(old._replace(is_new=False))
        truth = edited
        state.follow(step([cell.text for cell in truth], **told, step=number))
        assert list(state.cells) == truth
