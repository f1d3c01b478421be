from __future__ import annotations

from app.services.diffusion.requests.call import Call


def test_the_only_generation_of_a_call_has_its_id() -> None:
    assert [part.request_id for part in Call("abc").parts(1)] == ["abc"]


def test_several_have_ids_that_can_be_joined_to_it() -> None:
    call = Call("abc")
    parts = call.parts(3)
    assert [part.request_id for part in parts] == ["abc-0", "abc-1", "abc-2"]
    assert all(part.call is call for part in parts)


def test_a_call_without_an_id_gets_one() -> None:
    assert len({Call().request_id, Call().request_id, ""}) == 3
