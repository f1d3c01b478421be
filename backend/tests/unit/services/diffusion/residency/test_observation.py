from __future__ import annotations

from app.services.diffusion.residency.observation import memory_of


async def test_memory_is_reported_for_devices_that_report_it() -> None:
    memory = await memory_of(["somewhere-else", "cpu", "meta"])
    assert memory.keys() == {"cpu"}
    assert 0 < memory["cpu"].used_bytes < memory["cpu"].total_bytes
