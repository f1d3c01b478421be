"""The calls of Ollama's API that this server has no answer to, each refused with what to do instead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response

from app.services.diffusion.errors import UnsupportedOperation

MODELS_ARE_SET = (
    "the server's settings say which models there are (DIFFUSION_EXTRA_MODELS=name=path), and GET /api/tags lists them"
)
NO_EMBEDDINGS = "these models write text and embed none; ask a server with a model for embeddings"

REFUSED = {
    "pull": ("POST", MODELS_ARE_SET),
    "push": ("POST", MODELS_ARE_SET),
    "create": ("POST", MODELS_ARE_SET),
    "copy": ("POST", MODELS_ARE_SET),
    "delete": ("DELETE", MODELS_ARE_SET),
    "blobs/{digest}": ("POST", MODELS_ARE_SET),
    "embed": ("POST", NO_EMBEDDINGS),
    "embeddings": ("POST", NO_EMBEDDINGS),
}
"""The calls, with their method and the reason."""

router = APIRouter()


def _refusing(name: str, reason: str) -> Callable[[], Awaitable[Response]]:
    async def refuse() -> Response:
        raise UnsupportedOperation(f"{name} is not supported: {reason}", operation=name)

    return refuse


for _path, (_method, _reason) in REFUSED.items():
    _name = _path.partition("/")[0]
    router.add_api_route(
        f"/{_path}", _refusing(_name, _reason), methods=[_method], name=f"ollama_{_name}", include_in_schema=False
    )
