"""The face under `/api/diffusion`: the service's requests as they are."""

from __future__ import annotations

from app.api.bodies.unsupported import described_leniently
from app.api.diffusion.errors import FORM
from app.api.diffusion.router import PREFIX, router
from app.api.face import Body, Face, Schema
from app.api.wire.kinds import Kind
from app.core.settings import DiffusionConfig
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams, DiffusionStreamEvent
from app.services.diffusion.reading import DiffusionReadParams


def _any_of_its_fields(schema: Schema) -> Schema:
    """Changes name some of the settings, and none must be among them."""
    schema.pop("required", None)
    return schema


FACE = Face(
    name="diffusion",
    router=router,
    kinds={
        f"POST {PREFIX}/generate": Kind.GENERATING,
        f"POST {PREFIX}/generate/stream": Kind.GENERATING,
        f"POST {PREFIX}/infill": Kind.GENERATING,
        f"POST {PREFIX}/infill/stream": Kind.GENERATING,
        f"POST {PREFIX}/read": Kind.GENERATING,
        f"POST {PREFIX}/likelihood": Kind.GENERATING,
        f"GET {PREFIX}/models": Kind.READING,
        f"POST {PREFIX}/config": Kind.OPERATING,
        f"{PREFIX}/config": Kind.READING | Kind.FULLER_FOR_ADMIN,
        f"{PREFIX}/admin/*": Kind.OPERATING,
        f"{PREFIX}/*": Kind.GENERATING,
    },
    errors=FORM,
    bodies=(
        Body(DiffusionGenerationParams, described_leniently),
        Body(DiffusionInfillingParams, described_leniently),
        Body(DiffusionReadParams, described_leniently),
        Body(DiffusionLikelihoodParams, described_leniently),
        Body(DiffusionStreamEvent),
        Body(DiffusionConfig, _any_of_its_fields),
    ),
)
