from __future__ import annotations

import pytest

from app.api.models_of import max_length_of, model_of
from app.services.diffusion import UnknownModel
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import serving


async def test_the_default_model_is_meant_where_none_is_named() -> None:
    short = WordsModel("short")
    short.max_length = 7
    async with serving(WordsModel(), short) as service:
        assert model_of(service, None).model_id == model_of(service, "").model_id == "words"
        assert max_length_of(service, "short") == 7
        assert max_length_of(service, "plug-in that is still imported") == 2048
        with pytest.raises(UnknownModel, match=r"there is no model 'x'; known models: .*words, short"):
            model_of(service, "x")
