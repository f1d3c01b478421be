from typing import Any

import pytest

from app.services.diffusion.content_filter.canvas import Step, without_hidden


def shown(data: dict[str, Any], hidden: set[int]) -> dict[str, Any]:
    step = Step.of(data)
    assert step is not None
    return without_hidden(step, hidden)


def test_hidden_positions_are_blocks_on_the_canvas_and_among_the_commits() -> None:
    data = {
        "canvas": ["a", "b", None],
        "committed": [{"index": 0, "text": "a", "confidence": 0.5}, {"index": 1, "text": "b", "confidence": 0.25}],
        "expanded": [],
        "deleted": [],
        "revoked": [],
        "forced": [1],
        "step": 3,
        "nfe": 3,
    }
    assert shown(data, set()) == data
    assert shown(data, {1, 2}) == {
        **data,
        "canvas": ["a", "▒", None],
        "committed": [{"index": 0, "text": "a", "confidence": 0.5}, {"index": 1, "text": "▒", "confidence": 0.25}],
    }


def test_commits_find_their_position_after_expansions_and_deletions() -> None:
    committed = [{"index": 1, "text": "x"}, {"index": 4, "text": "y"}, {"index": 9, "text": "z"}]
    # [?, x, expanded, deleted, y] -> [?, x, ?, ?, y]
    data = {"canvas": [None, "x", None, None, "y"], "committed": committed, "expanded": [2], "deleted": [3]}
    texts = [commit["text"] for commit in shown(data, {4})["committed"]]
    assert texts == ["x", "▒", "▒"]


def test_text_hidden_on_the_canvas_is_not_shown_elsewhere() -> None:
    data = {"canvas": ["a"], "committed": [{"index": 0, "text": "other", "note": "other"}], "text": "all of it"}
    assert "other" not in str(shown(data, set()))
    assert "all of it" not in str(shown(data, set()))


def test_values_that_a_model_does_not_report_are_not_made_up() -> None:
    assert shown({"canvas": [None], "step": 2}, set()) == {
        "canvas": [None],
        "committed": [],
        "expanded": [],
        "deleted": [],
        "revoked": [],
        "step": 2,
    }


@pytest.mark.parametrize("data", [None, "text", {"canvas": "text"}, {"canvas": [1]}, {"committed": [{"index": "0"}]}])
def test_data_of_another_shape_are_none(data: Any) -> None:
    assert Step.of(data) is None
