"""The studio's server: Gradio's page, the viewer, and the pictures of everybody's desk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException
from starlette.responses import FileResponse, JSONResponse, Response

from mame.errors import MameError
from mame.web.server import guard
from mame.web.studio.bundle import IMAGES, zipped
from mame.web.studio.desk import Desks, Piece
from mame.web.studio.engine import Engine
from mame.web.studio.work import UPLOAD_LIMIT_MB, Studio
from mame.web.viewer.routes import add_viewer, part_response

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; frame-ancestors 'none'; form-action 'self'"
)
"""Everything from this server alone. Gradio's page is made of inline scripts and compiles its templates."""

TYPES = {"png": "image/png", "dcm": "application/dicom"}
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SSR_MODE": "False", "GRADIO_SHARE": "False",
}  # fmt: skip


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for everything that is uploaded or made, gone at the end; Gradio is told to use it, and to be quiet."""
    folder = Path(tempfile.mkdtemp(prefix="mam-e-studio-"))
    said = QUIET | {"GRADIO_TEMP_DIR": str(folder / "uploads")}
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def app(
    folder: Path, host: str, model: str = "mini", auth: tuple[str, str] | None = None,
    device: str | None = None, dtype: str | None = None, local: bool = True,
) -> FastAPI:  # fmt: skip
    """The server of a studio that keeps everything in a folder (of `private_folder`).

    auth: (name, password). local: whether only this machine can reach it; others may not name folders of this machine.
    Raises MameError for a model that is none.
    """
    import gradio as gr

    from mame.web.studio.page import DARK, HEAD, build, theme

    studio = Studio(Engine(device, dtype), Desks(folder / "desks"), model, local)
    studio.check_model(model)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        studio.engine.warm(model)
        yield
        studio.engine.close()
        studio.desks.close()

    server = FastAPI(title="MAM-E studio", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    guard(server, host, POLICY)
    add_viewer(server)
    _add_pieces(server, studio.desks)
    page = build(studio)
    page.run_history = False
    gr.mount_gradio_app(
        server, page, "/", auth=auth, show_error=True, max_file_size=f"{UPLOAD_LIMIT_MB}mb", ssr_mode=False,
        theme=theme(), head=HEAD, js=DARK, footer_links=["api"], run_history=False, mcp_server=False,
        enable_monitoring=False, pwa=False,
    )  # fmt: skip
    return server


def _add_pieces(server: FastAPI, desks: Desks) -> None:
    """Adds /studio/… (what the page needs) and /pieces/KEY/…: a picture's parts, its thumbnail and its files."""

    def piece_of(key: str) -> Piece:
        found = desks.find(key)
        if found is None:
            raise HTTPException(404)
        return found

    @server.exception_handler(MameError)
    def mistaken(_request: object, error: MameError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=400)

    @server.get("/studio/{name}", include_in_schema=False)
    def static(name: str) -> FileResponse:
        if name not in ("studio.css", "canvas.js", "keys.js"):
            raise HTTPException(404)
        return FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})

    @server.get("/pieces/{key}/thumb.png", include_in_schema=False)
    def thumb(key: str) -> Response:
        return Response(
            piece_of(key).thumb, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"}
        )

    @server.get("/pieces/{key}/part", include_in_schema=False)
    def part(key: str, x0: float, y0: float, x1: float, y1: float, width: int, height: int) -> Response:
        found = piece_of(key)
        if found.pyramid is None:
            raise HTTPException(404)
        return part_response(found.pyramid, x0, y0, x1, y1, width, height)

    @server.get("/pieces/{key}/file.{end}", include_in_schema=False)
    def file(key: str, end: str) -> FileResponse:
        found = piece_of(key)
        if end == "zip":
            return FileResponse(zipped(found), filename=f"{_stem(found)}.zip", media_type="application/zip")
        found.wait()
        path = found.folder / IMAGES / f"0000.{end}"
        if end not in TYPES or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, filename=f"{_stem(found)}.{end}", media_type=TYPES[end])


def _stem(piece: Piece) -> str:
    return Path(piece.name).stem + ("" if piece.before is None else "-painted")
