"""The face at the root, where editors expect llama.cpp's server: `/infill`, `/props` and `/health`."""

from __future__ import annotations

from app.api.errors.openai_problem import OPENAI_FORM
from app.api.face import Body, Face
from app.api.llama_cpp.endpoints import router
from app.api.llama_cpp.requests import InfillRequest
from app.api.wire.kinds import Kind

FACE = Face(
    name="llama.cpp",
    router=router,
    kinds={
        "GET /props": Kind.READING,
        "POST /infill": Kind.GENERATING,
        "/health": Kind.OPEN | Kind.PROBE,
    },
    errors=OPENAI_FORM,  # llama.cpp's server has the same
    bodies=(Body(InfillRequest),),
)
