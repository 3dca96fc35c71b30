"""The reading room's server: who may see which picture now, and answers into the store before the next one is shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException
from PIL import Image
from pydantic import BaseModel
from starlette.responses import FileResponse, JSONResponse, Response

from mame.assess.readers.store import AnswerStore, Given
from mame.assess.readers.study import PICTURES, Kind, open_study
from mame.dataset.read import read_values
from mame.errors import MameError
from mame.web.room.seats import Seats
from mame.web.server import guard
from mame.web.viewer.pyramid import Pyramid
from mame.web.viewer.routes import add_viewer, part_response

STATIC = Path(__file__).parent / "static"
TILES = "tiles"  # of the study: pictures at every scale, made when it is first served; may be deleted
PAGES = {"": "room.html", "room.js": "room.js", "room.css": "room.css"}
BEARER = "Bearer "


class AnswerIn(BaseModel):
    """What the page sends."""

    case: str
    value: int
    seconds: float
    x: float | None = None
    y: float | None = None


def pyramids(folder: Path, progress: Callable[[int, int], None] | None = None) -> dict[str, Pyramid]:
    """Every picture of a study at every scale, by file name; made in STUDY/tiles where it isn't there.

    progress: called with (done, total). Raises MameError for a picture that is missing or damaged.
    """
    names = [name for case in open_study(folder).cases for name in case.pictures]
    (folder / TILES).mkdir(exist_ok=True)
    found = {}
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names))
        path = folder / PICTURES / name
        try:
            with Image.open(path) as picture:
                shape = (picture.height, picture.width)
        except OSError as error:
            raise MameError(f"{path}: {error}") from None
        found[name] = Pyramid.on_disk(folder / TILES / f"{name}.u2", shape, partial(read_values, path))
    return found


def room(folder: Path, host: str, pictures: dict[str, Pyramid] | None = None) -> FastAPI:
    """The server of a study. pictures: of `pyramids(folder)`. Raises MameError where the folder holds no study."""
    store = AnswerStore(folder)
    shown = pyramids(folder) if pictures is None else pictures
    cases = {case.id: case for case in store.study.cases}
    seats = Seats()
    app = FastAPI(title="MAM-E reading room", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.store = store
    guard(app, host)
    add_viewer(app)

    @app.exception_handler(MameError)
    def mistaken(_request: Any, error: MameError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=400)

    @app.exception_handler(HTTPException)
    def refused(_request: Any, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, status_code=error.status_code)

    def who(authorization: str) -> int:
        try:
            return store.reader(authorization.removeprefix(BEARER))
        except MameError as error:
            raise HTTPException(401, str(error)) from None

    def seated(authorization: str, seat: str) -> int:
        reader = who(authorization)
        if not seat or not seats.holds(reader, seat):
            raise HTTPException(423, "this study is being read in another window")
        return reader

    def state(reader: int) -> dict[str, Any]:
        study, due = store.study, store.next_case(reader)
        names = cases[due].pictures if due else []
        sizes = [dict(zip(("height", "width"), shown[name].shape, strict=True)) for name in names]
        return {
            "kind": study.kind, "question": study.question, "done": store.done(reader),
            "answers": ["left", "right"] if study.kind is Kind.CHOICE else study.grades,
            "total": len(store.orders[reader]), "case": due,
            "pictures": [{"place": place, **size} for place, size in enumerate(sizes)],
        }  # fmt: skip

    @app.post("/api/join")
    def join(authorization: Annotated[str, Header()] = "", instead: bool = False) -> dict[str, str]:
        seat = seats.take(who(authorization), instead)
        if seat is None:
            raise HTTPException(423, "this study is open in another window")
        return {"seat": seat}

    @app.post("/api/leave")
    def leave(authorization: Annotated[str, Header()] = "", x_seat: Annotated[str, Header()] = "") -> dict[str, str]:
        seats.leave(who(authorization), x_seat)
        return {}

    @app.get("/api/state")
    def due(authorization: Annotated[str, Header()] = "", x_seat: Annotated[str, Header()] = "") -> dict[str, Any]:
        return state(seated(authorization, x_seat))

    @app.get("/api/part/{case}/{place}")
    def part(
        case: str, place: int, x0: float, y0: float, x1: float, y1: float, width: int, height: int,
        authorization: Annotated[str, Header()] = "", x_seat: Annotated[str, Header()] = "",
    ) -> Response:  # fmt: skip
        reader = seated(authorization, x_seat)
        if case != store.next_case(reader) or not 0 <= place < len(cases[case].pictures):
            raise HTTPException(404, "this picture is not due")
        return part_response(shown[cases[case].pictures[place]], x0, y0, x1, y1, width, height)

    @app.post("/api/answer")
    def answer(
        given: AnswerIn, authorization: Annotated[str, Header()] = "", x_seat: Annotated[str, Header()] = ""
    ) -> dict[str, Any]:
        reader = seated(authorization, x_seat)
        store.save(reader, given.case, Given(given.value, given.seconds, given.x, given.y))
        return state(reader)

    @app.get("/")
    @app.get("/{name}")
    def page(name: str = "") -> FileResponse:
        if name not in PAGES:
            raise HTTPException(404, "there is no such page")
        return FileResponse(STATIC / PAGES[name])

    return app
