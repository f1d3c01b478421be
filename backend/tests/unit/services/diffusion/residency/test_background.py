import asyncio
import logging

import pytest

from app.services.diffusion.residency.background import BackgroundTasks


async def test_join_waits_for_tasks_that_tasks_start() -> None:
    tasks, done = BackgroundTasks(), []

    async def child() -> None:
        await asyncio.sleep(0)
        done.append("child")

    async def parent() -> None:
        tasks.start(child(), name="child")

    tasks.start(parent(), name="parent")
    await tasks.join()
    assert done == ["child"]


async def test_cancel_ends_all() -> None:
    tasks = BackgroundTasks()
    sleeper = tasks.start(asyncio.sleep(3600), name="sleeper")
    await tasks.cancel()
    assert sleeper.cancelled()


async def test_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("oh")

    tasks = BackgroundTasks()
    with caplog.at_level(logging.ERROR):
        tasks.start(fail(), name="unlucky")
        await tasks.join()
        await asyncio.sleep(0)
    assert "unlucky" in caplog.text
