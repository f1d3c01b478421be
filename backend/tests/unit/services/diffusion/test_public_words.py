from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core.settings import DiffusionConfig
from app.services.diffusion import InvalidParameters, ModelUnavailable
from app.services.diffusion.public_words import public_configuration, public_message, public_text
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import serving

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=8).filter(lambda name: name.strip(".") and name[0] != "~")
SECRET = "/srv/secret folder/of, mine"


@pytest.mark.parametrize(
    ("told", "public"),
    [
        ("/models/a/config.json: no such file", "config.json: no such file"),
        ("[Errno 13] Permission denied: '/my models/a/w.safetensors'", "[Errno 13] Permission denied: 'w.safetensors'"),
        ("cannot read `~/models/x`, sorry", "cannot read `x`, sorry"),
        ("see file:///home/me/x and C:\\models\\y", "see x and y"),
        ("(/a/b/c.py)", "(c.py)"),
        ("a folder /models/bad/ without weights", "a folder bad without weights"),
        ("and/or 1/2 https://hf.co/a/b org/name", "and/or 1/2 https://hf.co/a/b org/name"),
    ],
)
def test_the_last_part_of_a_path_is_shown(told: str, public: str) -> None:
    assert public_text(told) == public


@given(st.lists(NAMES, min_size=2, max_size=5), st.sampled_from(["{}", "at {}: x", "'{}'", "({})", "a {}, b"]))
def test_no_folder_is_revealed_at_any_position_of_a_text(parts: list[str], frame: str) -> None:
    assert public_text(frame.format("/" + "/".join(parts))) == frame.format(parts[-1])


def test_a_folder_that_is_known_may_have_any_name() -> None:
    told = f"{SECRET}/bad/config.json is missing in {SECRET}/bad"
    assert public_text(told, location=f"{SECRET}/bad") == "config.json is missing in bad"


def test_a_refusal_is_sent_with_the_caller_s_own_paths() -> None:
    assert public_message(InvalidParameters("stop='/a/b' is too long")) == "stop='/a/b' is too long"
    assert public_message(ModelUnavailable("/a/b is gone")) == "b is gone"


@pytest.mark.parametrize("name", sorted(DiffusionConfig.model_fields.keys() - {"default_model"}))  # an id
def test_no_setting_reveals_a_location_without_the_admin_s_right(name: str) -> None:
    """Whichever setting takes a path, also one that is yet to come."""
    for value in (f"{SECRET}/x", f"a={SECRET}/x", f"a={SECRET.replace(',', '')}/x,b=/srv/secret/y"):
        try:
            config = DiffusionConfig.model_validate({name: value})
        except ValidationError:
            continue
        told = public_configuration(config)
        assert told.keys() == config.model_dump().keys()
        assert "srv" not in told[name]
        assert told[name].endswith(value[-1])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dreamon_path": "Dream-org/DreamOn-v0-7B"}, {"dreamon_path": "DreamOn-v0-7B"}),
        ({"extra_models": "a=/m/x, b=org/y"}, {"extra_models": "a=x, b=y"}),
        ({"content_filter": "rules.toml"}, {"content_filter": "rules.toml"}),
        ({}, {"dreamon_path": "", "llada_path": "", "extra_models": "", "content_filter": ""}),
    ],
)
def test_the_name_of_a_location_is_shown(settings: dict[str, Any], told: dict[str, str]) -> None:
    assert told.items() <= public_configuration(DiffusionConfig(**settings)).items()


async def test_a_model_that_cannot_be_had_is_explained_without_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my secret place" / "bad one"
    folder.mkdir(parents=True)
    settings = {"extra_models": f"bad={folder}", "model_fallback": False}
    async with serving(WordsModel(), **settings) as service:
        with pytest.raises(ModelUnavailable) as caught:
            await service.generate_stream("x", model_id="bad")
        (details,) = (model for model in service.model_details() if model.model_id == "bad")
    assert "secret" not in str(caught.value)
    assert "/" not in str(caught.value)
    assert "config.json" in str(caught.value) or "bad one" in str(caught.value)
    assert str(folder) in str(details.error), "whoever can correct it is told where"
