"""The playground: two pages that ask this server, and their files. They hold no secret and need no key."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from app.api.face import Face
from app.api.wire.kinds import Kind

FOLDER = Path(__file__).parents[1] / "assets" / "playground"
FILES = StaticFiles(directory=FOLDER)

HEADERS = {
    "Cache-Control": "no-cache",  # stored, and asked for anew: a page and its scripts are of one release
    # Nothing from elsewhere, no script but the pages' own files, and no text that a script could turn into markup.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
}

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def playground(request: Request) -> Response:
    """The page."""
    return await _file("index.html", request)


@router.api_route("/read", methods=["GET", "HEAD"])
async def reading_page(request: Request) -> Response:
    """The page that reads holes."""
    return await _file("read.html", request)


@router.api_route("/playground/{name}", methods=["GET", "HEAD"])
async def playground_file(name: str, request: Request) -> Response:
    """A file that the page names."""
    return await _file(name, request)


async def _file(name: str, request: Request) -> Response:
    """The file as an answer, or 304 where the client has it already, or 404."""
    if "\0" in name:  # starlette before 1.0 hands it to the file system, which raises
        raise HTTPException(404)
    response = await FILES.get_response(name, request.scope)
    response.headers.update(HEADERS)
    return response


FACE = Face(
    name="playground",
    router=router,
    kinds={"/": Kind.OPEN, "/read": Kind.OPEN, "/playground/*": Kind.OPEN},
    is_served=lambda settings: settings.playground,
)
