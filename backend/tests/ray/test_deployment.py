from __future__ import annotations

import pytest

from app.core.settings import Settings, WrongSetting
from app.ray.deployment import application

pytestmark = pytest.mark.ray


def test_more_replicas_at_least_than_at_most_is_a_wrong_setting() -> None:
    with pytest.raises(WrongSetting, match=r"DIFFUSION_RAY_MIN_REPLICAS=3 .* up to DIFFUSION_RAY_MAX_REPLICAS=2"):
        application(Settings(ray_min_replicas=3))


def test_adapters_are_refused_before_anything_is_deployed() -> None:
    with pytest.raises(
        WrongSetting, match=r"DIFFUSION_ADAPTERS='x=llada:/m/x' is not allowed on Ray: .* in one process"
    ):
        application(Settings(adapters="x=llada:/m/x"))
