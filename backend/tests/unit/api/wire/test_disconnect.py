from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect

from app.api.wire.disconnect import while_connected
from tests.unit.api.asgi import DISCONNECT, Client, body_messages


async def forever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        ended.append("cleaned up")


async def test_gives_what_the_work_gives() -> None:
    async def work() -> int:
        return 7

    assert await while_connected(work(), Client().receive) == 7


async def test_raises_what_the_work_raises() -> None:
    async def work() -> None:
        raise LookupError("why")

    with pytest.raises(LookupError, match="why"):
        await while_connected(work(), Client().receive)


async def test_work_has_ended_when_the_client_leaves() -> None:
    client, ended = Client(*body_messages(b"late", b"")), list[str]()
    asyncio.get_running_loop().call_later(0.01, client.say, DISCONNECT)
    with pytest.raises(ClientDisconnect):
        await while_connected(forever(ended), client.receive)
    assert ended == ["cleaned up"]


async def test_work_has_ended_when_the_caller_is_cancelled() -> None:
    ended: list[str] = []
    task = asyncio.create_task(while_connected(forever(ended), Client().receive))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cleaned up"]


async def test_no_task_is_left_behind() -> None:
    before = asyncio.all_tasks()
    await test_gives_what_the_work_gives()
    await test_work_has_ended_when_the_client_leaves()
    await test_work_has_ended_when_the_caller_is_cancelled()
    assert asyncio.all_tasks() == before
