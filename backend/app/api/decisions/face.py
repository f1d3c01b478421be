"""Two faces for decisions: `/v1/systemone` has errors of its own, and `/v1/decisions` those of OpenAI's API."""

from __future__ import annotations

from app.api.decisions.endpoints import decisions, systemone
from app.api.decisions.errors import SYSTEM_ONE_FORM
from app.api.decisions.listed import ListedDecisions
from app.api.decisions.named import NamedDecisions
from app.api.decisions.systemone import SystemOneRequest
from app.api.errors.openai_problem import OPENAI_FORM
from app.api.face import Body, Face
from app.api.wire.kinds import Kind

SYSTEM_ONE = Face(
    name="systemone",
    router=systemone,
    kinds={"/v1/systemone": Kind.GENERATING},
    errors=SYSTEM_ONE_FORM,
    bodies=(Body(SystemOneRequest),),
)

DECISIONS = Face(
    name="decisions",
    router=decisions,
    kinds={"/v1/decisions": Kind.GENERATING},
    errors=OPENAI_FORM,
    bodies=(Body(ListedDecisions), Body(NamedDecisions)),
)
