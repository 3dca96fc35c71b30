"""What one browser session has: pictures made, the mammogram that is painted on, and a folder for its files."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mame.mammogram import Box, Mammogram
from mame.web.studio.engine import Row
from mame.web.studio.recipes import Origin, Stroke
from mame.web.viewer.pyramid import Pyramid


@dataclass(frozen=True)
class Made:
    """One picture, and the row, the number in it and the model that make it again."""

    mammogram: Mammogram
    row: Row
    index: int
    model: str
    device: str | None = None


class Session:
    """Of one page. layers: the mammogram that is painted on, as it was before each lesion, the last as it is now.

    strokes: how each lesion was painted. region: where to paint next, a box or an outline, in its pixels. No dataclass:
    Gradio would make a dictionary of one.
    """

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.chosen = 0
        self.layers: list[Mammogram] = []
        self.strokes: list[Stroke] = []
        self.origin = Origin()
        self.region: Box | list[tuple[float, float]] | None = None
        self.variants: list[tuple[Mammogram, Stroke]] = []
        self.token = ""
        self.folder: Path | None = None

    @property
    def painted_on(self) -> Mammogram | None:
        """The mammogram as it is now."""
        return self.layers[-1] if self.layers else None

    def mask(self) -> Box | NDArray[np.bool_] | None:
        """The region: a box, or a mask of the mammogram's size."""
        if self.region is None or isinstance(self.region, Box) or self.painted_on is None:
            return self.region if isinstance(self.region, Box) else None
        from PIL import Image, ImageDraw

        height, width = self.painted_on.shape
        canvas = Image.new("1", (width, height))
        ImageDraw.Draw(canvas).polygon([(round(x), round(y)) for x, y in self.region], fill=1)
        return np.asarray(canvas, dtype=bool)


class Shown:
    """The pictures that viewers look at, by a word that nobody can guess, for as long as their session lasts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._pyramids: dict[str, Pyramid] = {}

    def replace(self, session: Session, mammogram: Mammogram) -> None:
        """Makes a session's picture visible under a new word; the one before is gone."""
        self._pyramids.pop(session.token, None)
        session.token = secrets.token_urlsafe(18)
        self._pyramids[session.token] = Pyramid.of(np.rint(mammogram.pixels * 65535).astype(np.uint16))

    def get(self, token: str) -> Pyramid | None:
        """The picture under that word, if there is one."""
        return self._pyramids.get(token)

    def forget(self, session: Session) -> None:
        """Called when a page is closed: its pictures and files go."""
        self._pyramids.pop(session.token, None)
        if session.folder is not None:
            shutil.rmtree(session.folder, ignore_errors=True)

    def folder_of(self, session: Session) -> Path:
        """The session's own folder, for files to download."""
        if session.folder is None:
            session.folder = self.home / secrets.token_hex(8)
            session.folder.mkdir(parents=True)
        return session.folder
