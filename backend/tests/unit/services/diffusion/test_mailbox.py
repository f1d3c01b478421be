import asyncio
import threading
from collections import deque

import pytest

from app.services.diffusion.mailbox import Mailbox, MailboxFull


async def test_items_of_another_thread_arrive_in_order() -> None:
    box: Mailbox[int] = Mailbox(1000)

    def send() -> None:
        for number in range(1000):
            box.put(number)

    sender = threading.Thread(target=send)
    sender.start()
    assert [await box.get() for _ in range(1000)] == list(range(1000))
    sender.join()


async def test_the_mailbox_may_replace_an_unread_item() -> None:
    def newest_only(pending: deque[str], item: str) -> None:
        pending.clear()
        pending.append(item)

    box: Mailbox[str] = Mailbox(1, newest_only)
    for item in "abc":
        box.put(item)
    assert await box.get() == "c"


async def test_peek_leaves_the_item() -> None:
    box: Mailbox[str] = Mailbox(2)
    box.put("a")
    assert await box.peek() == "a"
    assert await box.get() == "a"


async def test_a_writer_on_the_loop_waits_until_something_is_read() -> None:
    box: Mailbox[int] = Mailbox(3)
    await box.send(1)
    await box.send(2)
    waiting = asyncio.create_task(box.send(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    await box.get()
    await asyncio.wait_for(waiting, 30)
    assert [await box.get(), await box.get()] == [2, 3]


async def test_the_last_item_never_waits() -> None:
    box: Mailbox[int] = Mailbox(2)
    await box.send(1)
    box.put(2)
    assert [await box.get(), await box.get()] == [1, 2]


async def test_more_than_the_capacity_never_waits_there() -> None:
    box: Mailbox[int] = Mailbox(2)
    box.put(1)
    box.put(2)
    with pytest.raises(MailboxFull, match="2 items wait"):
        box.put(3)
    assert [await box.get(), await box.get()] == [1, 2]


async def test_a_cancelled_reader_loses_nothing() -> None:
    box: Mailbox[int] = Mailbox(2)
    reader = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put(1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await box.get() == 1


def test_putting_after_the_end_of_the_loop_is_harmless() -> None:
    async def make() -> Mailbox[int]:
        return Mailbox(1)

    asyncio.run(make()).put(1)
