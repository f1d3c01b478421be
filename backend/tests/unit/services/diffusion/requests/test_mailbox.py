import asyncio
import threading
from collections import deque

import pytest

from app.services.diffusion.requests.mailbox import Handover


async def test_items_of_another_thread_arrive_in_order() -> None:
    box: Handover[int] = Handover()

    def send() -> None:
        for number in range(1000):
            box.put(number)

    sender = threading.Thread(target=send)
    sender.start()
    assert [await box.get() for _ in range(1000)] == list(range(1000))
    sender.join()


async def test_the_store_may_replace_what_nobody_has_read() -> None:
    def newest_only(pending: deque[str], item: str) -> None:
        pending.clear()
        pending.append(item)

    box: Handover[str] = Handover(newest_only)
    for item in "abc":
        box.put(item)
    assert await box.get() == "c"


async def test_peek_leaves_the_item() -> None:
    box: Handover[str] = Handover()
    box.put("a")
    assert await box.peek() == "a"
    assert await box.get() == "a"


async def test_room_comes_back_when_something_is_read() -> None:
    box: Handover[int] = Handover()
    box.put(1)
    box.put(2)
    waiting = asyncio.create_task(box.wait_for_room(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    await box.get()
    await asyncio.wait_for(waiting, 30)


async def test_a_cancelled_reader_loses_nothing() -> None:
    box: Handover[int] = Handover()
    reader = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put(1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await box.get() == 1


def test_putting_after_the_end_of_the_loop_is_harmless() -> None:
    async def make() -> Handover[int]:
        return Handover()

    asyncio.run(make()).put(1)
