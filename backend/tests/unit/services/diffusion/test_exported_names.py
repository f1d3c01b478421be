"""Names are imported when they are first used, so nothing else would notice one that leads nowhere."""

from __future__ import annotations

import pytest

from app.services import diffusion


@pytest.mark.parametrize("name", diffusion.__all__)
def test_every_name_leads_somewhere(name: str) -> None:
    assert diffusion.__getattr__(name).__name__ == name


def test_another_name_does_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        getattr(diffusion, "Nonsense")  # noqa: B009 - to a type checker it is there or not
