from __future__ import annotations

from typing import get_args

import pytest

from app.core.parameters import PARAMETERS, DecodingName
from app.engine.families.registry import families, family_named
from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.families.registry import TEXT_FAMILIES, register, text_family

declared = pytest.mark.parametrize("text", TEXT_FAMILIES.values(), ids=TEXT_FAMILIES)


def test_every_family_of_the_engine_says_what_it_is_to_text_and_no_other() -> None:
    assert TEXT_FAMILIES.keys() == {family.name for family in families()}


@declared
def test_both_declarations_agree_on_whether_the_length_changes(text: TextFamily) -> None:
    assert text.changes_length == family_named(text.name).span.changes_length


@declared
def test_both_declarations_agree_on_whether_there_may_be_text_behind_an_answer(text: TextFamily) -> None:
    assert text.infills == family_named(text.name).infills


@declared
def test_a_declaration_fills_in_what_the_engine_takes(text: TextFamily) -> None:
    family = family_named(text.name)
    assert family.takes("initial_masks") == (text.starting_masks is not None)
    assert family.takes("block_length") or text.block_length is None
    for preset in text.presets.values():
        assert preset.cache in family.caches
        assert family.takes("block_length") or preset.block_length is None
        assert family.takes("confidence_threshold") or preset.confidence_threshold is None


@declared
def test_lengths_are_within_the_bounds_of_a_request(text: TextFamily) -> None:
    assert text.max_length <= PARAMETERS["max_length"].greatest
    assert all(masks <= text.max_length for masks in (text.starting_masks or {}).values())


@declared
def test_every_preset_is_one_that_a_request_can_name(text: TextFamily) -> None:
    assert text.presets.keys() == set(get_args(DecodingName)) - {"exact"}


def test_a_name_is_given_once() -> None:
    with pytest.raises(AssertionError, match="there is a family 'llada' already"):
        register(text_family("llada"))
