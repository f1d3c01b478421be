"""How the service is: whether it can answer, and what is wrong with which model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.models import ComponentHealth, DiffusionHealth
from app.services.diffusion.slot import Slot


def report_health(slots: Sequence[Slot], *, is_enabled: bool) -> DiffusionHealth:
    """`degraded` where a model has failed and others answer, `unhealthy` where none does. A model that is still being
    loaded is no failure.
    """
    status = _status(slots) if is_enabled else "disabled"
    return DiffusionHealth(
        healthy=status == "healthy",
        status=status,
        models={slot.model_id: _model_health(slot) for slot in slots},
        devices=_device_health(slots),
    )


def _status(slots: Sequence[Slot]) -> Literal["healthy", "degraded", "unhealthy", "disabled"]:
    if not any(slot.is_available for slot in slots):
        return "unhealthy"
    return "degraded" if any(slot.problem for slot in slots) else "healthy"


def _model_health(slot: Slot) -> ComponentHealth:
    if slot.problem is not None:
        kept = "; the instance loaded before answers" if slot.is_available else ""
        return ComponentHealth(healthy=False, detail=f"{slot.problem}{kept}")
    return ComponentHealth(healthy=True, detail="loading" if slot.is_loading else slot.state.value)


def _device_health(slots: Sequence[Slot]) -> dict[str, ComponentHealth]:
    models = [slot.instance.model for slot in slots if slot.instance is not None]
    return {
        device: ComponentHealth(healthy=True, detail=_device_load([m for m in models if m.device == device]))
        for device in sorted({model.device for model in models})
    }


def _device_load(models: Sequence[DiffusionModel]) -> str:
    megabytes = sum(model.memory_bytes for model in models) / 1e6
    return f"{', '.join(model.model_id for model in models)}: {megabytes:.1f} MB of weights"
