"""What every page with a viewer needs from its server: scripts, the empty figure, and parts of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mame.web.viewer.figure import STATIC, bokeh_script, viewer_figure
from mame.web.viewer.pyramid import Pyramid

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

LASTING = "public, max-age=86400"


def add_viewer(app: FastAPI) -> None:
    """Adds /viewer/… to a server: `viewer.js`, `viewer.css`, `bokeh.min.js` and `figure.json`."""
    from starlette.responses import FileResponse

    @app.get("/viewer/figure.json", include_in_schema=False)
    def figure() -> dict[str, Any]:
        return viewer_figure()

    @app.get("/viewer/{name}", include_in_schema=False)
    def script(name: str) -> FileResponse:
        from fastapi import HTTPException

        places = {"bokeh.min.js": bokeh_script() / name, "viewer.js": STATIC / name, "viewer.css": STATIC / name}
        if name not in places:
            raise HTTPException(404)
        return FileResponse(places[name], headers={"Cache-Control": LASTING if name == "bokeh.min.js" else "no-cache"})


def part_response(pyramid: Pyramid, x0: float, y0: float, x1: float, y1: float, width: int, height: int) -> Response:
    """A part of a picture as the viewer reads it: height×width little-endian uint16."""
    from starlette.responses import Response

    values = pyramid.part((x0, y0, x1, y1), width, height)
    return Response(values.astype("<u2", copy=False).tobytes(), media_type="application/octet-stream")
