import logging

import pytest

from app.services.diffusion.residency import roster
from app.services.diffusion.residency.catalog import CatalogEntry
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import serving


async def test_plugins_are_served_and_one_whose_id_is_taken_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def plugin_entries() -> list[CatalogEntry]:
        def plugin(model_id: str) -> CatalogEntry:
            return CatalogEntry(model_id, WordsModel(model_id), lambda config: WordsModel(model_id, ["plug", "in"]))

        return [plugin("plugged"), plugin("llada")]

    monkeypatch.setattr(roster, "plugin_entries", plugin_entries)
    with caplog.at_level(logging.ERROR):
        async with serving(WordsModel()) as service:
            assert (await service.generate_stream("x", model_id="plugged")).text == "plugin"
    assert "'llada' is left out" in caplog.text
