"""The faces of this server. A face is its folder, and an import and a line here."""

from __future__ import annotations

from app.api import health, playground
from app.api.decisions import face as decisions
from app.api.diffusion import face as diffusion
from app.api.face import Face
from app.api.llama_cpp import face as llama_cpp
from app.api.observation import metrics
from app.api.ollama import face as ollama
from app.api.openai import face as openai

FACES: tuple[Face, ...] = (
    diffusion.FACE,
    openai.FACE,
    openai.TOKENS,
    decisions.SYSTEM_ONE,
    decisions.DECISIONS,
    llama_cpp.FACE,
    ollama.FACE,
    health.FACE,
    metrics.FACE,
    playground.FACE,
    ollama.ROOT,
)
