from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from app.services.diffusion.native.engine_names import EngineNames


@given(st.lists(st.sampled_from(["a", "a~2", "b"]), max_size=12), st.data())
def test_names_that_are_taken_at_the_same_time_differ_and_begin_with_the_id(
    ids: list[str], data: st.DataObject
) -> None:
    names = EngineNames()
    open_blocks: dict[int, tuple[str, ExitStack]] = {}
    for number, request_id in enumerate(ids):
        block = ExitStack()
        name = block.enter_context(names.taken(request_id))
        assert name not in {taken for taken, _ in open_blocks.values()}
        assert name.startswith(request_id)
        open_blocks[number] = (name, block)
        for ended in data.draw(st.sets(st.sampled_from(sorted(open_blocks)))):
            open_blocks.pop(ended)[1].close()


def test_a_unique_id_is_the_name() -> None:
    names = EngineNames()
    for _ in range(2):
        with names.taken("a") as name:
            assert name == "a"
