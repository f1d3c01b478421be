"""The service's health: whether it can answer, and what is wrong with which model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.reports import ComponentHealth, DiffusionHealth
from app.services.diffusion.residency.slot import Slot, State

NOT_LOADED = "models are being loaded"
NONE_AVAILABLE = "no model is available"


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


def reason_not_ready(slots: Sequence[Slot], *, default_model: str, model_fallback: bool) -> str | None:
    """Why a request that names no model would have to wait for a load, or be refused; `None` where it is answered."""
    default = next((slot for slot in slots if slot.model_id == default_model), None)
    if default is None:
        return NOT_LOADED  # it comes from a plug-in, and these are imported beside the server
    if default.is_available:
        return None
    others = [slot for slot in slots if model_fallback and slot is not default]
    if default.is_out_of_order and any(slot.is_available for slot in others):
        return None
    is_coming = any(slot.is_loading or slot.state is State.NEW for slot in (default, *others))
    return NOT_LOADED if is_coming else NONE_AVAILABLE


def with_component(report: DiffusionHealth, name: str, component: ComponentHealth) -> DiffusionHealth:
    """The report with one component more, without which requests are answered, if not as well."""
    status = "degraded" if report.status == "healthy" and not component.healthy else report.status
    return report.model_copy(
        update={
            "healthy": status == "healthy",
            "status": status,
            "components": {**report.components, name: component},
        }
    )


def _status(slots: Sequence[Slot]) -> Literal["healthy", "degraded", "unhealthy", "disabled"]:
    if not any(slot.is_available for slot in slots):
        return "unhealthy"
    return "degraded" if any(slot.standing_problem for slot in slots) else "healthy"


def _model_health(slot: Slot) -> ComponentHealth:
    if (problem := slot.standing_problem) is not None:
        kept = "; the instance loaded before answers" if slot.is_available else ""
        return ComponentHealth(healthy=False, detail=f"{problem}{kept}")
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
