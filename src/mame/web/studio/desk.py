"""What a user has on the desk: pictures in files of their own, gone when the page is closed. No two users share one."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.errors import MameError
from mame.mammogram import Lesion, Mammogram
from mame.web.studio import texts
from mame.web.viewer.pyramid import Pyramid

MOST_PIECES = 96  # on a desk; the oldest goes
MOST_DESKS = 64
KEPT_S = 120.0  # after its page was closed: a page that was reloaded by a weak line comes back
ID_BYTES = 18


@dataclass
class Piece:
    """A picture on a desk. Its id is its key: nobody else can guess it.

    file: what the next step works on, whole once `written` is done. facts: what is shown beside it, in values JSON can
    hold. commands: the lines that make it. before: the piece it was painted into.
    """

    id: str
    folder: Path
    name: str
    file: Path
    facts: dict[str, Any]
    commands: tuple[str, ...] = ()
    before: Piece | None = None
    pyramid: Pyramid | None = None
    thumb: bytes = b""
    spacing_mm: float | None = None
    given_mm: float | None = None
    breast: NDArray[np.bool_] | None = None  # at a reduced size
    lesions: tuple[Lesion, ...] = ()
    masks: list[Path] = field(default_factory=list)
    written: Future[Any] | None = None

    @property
    def first(self) -> Piece:
        """The picture before anything was painted into it."""
        return self if self.before is None else self.before.first

    def wait(self) -> Path:
        """The file, once it is whole. Raises what writing it raised."""
        if self.written is not None:
            self.written.result()
        return self.file


class Desk:
    """One user's pictures, in a folder that goes with the desk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pieces: OrderedDict[str, Piece] = OrderedDict()
        self.left_at: float | None = None
        folder.mkdir(parents=True)

    def new_folder(self) -> tuple[str, Path]:
        """A key and a folder for one more piece."""
        key = secrets.token_urlsafe(ID_BYTES)
        place = self.folder / key
        place.mkdir()
        return key, place

    def put(self, piece: Piece) -> Piece:
        """Lay a piece on the desk; where it is full, the oldest goes."""
        self.pieces[piece.id] = piece
        while len(self.pieces) > MOST_PIECES:
            _, old = self.pieces.popitem(last=False)
            _discard(old)
        return piece

    def piece(self, key: str) -> Piece:
        """The piece with a key. Raises MameError where it is gone."""
        found = self.pieces.get(key)
        if found is None:
            raise MameError(texts.GONE)
        return found

    def clear(self) -> None:
        """Everything off it."""
        while self.pieces:
            _, old = self.pieces.popitem()
            _discard(old)
        shutil.rmtree(self.folder, ignore_errors=True)


class Desks:
    """The desks of everybody who has the page open, each known by its session."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writers = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._desks: OrderedDict[str, Desk] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, session: str | None) -> Desk:
        """The desk of a session, made where there is none."""
        key = session or "nobody"
        with self._lock:
            self._sweep()
            desk = self._desks.get(key)
            if desk is None:
                desk = self._desks[key] = Desk(self.root / secrets.token_hex(8))
            desk.left_at = None
            self._desks.move_to_end(key)
            while len(self._desks) > MOST_DESKS:
                _, oldest = self._desks.popitem(last=False)
                oldest.clear()
            return desk

    def leave(self, session: str | None) -> None:
        """A page was closed: its desk is cleared in a while."""
        with self._lock:
            desk = self._desks.get(session or "nobody")
            if desk is not None:
                desk.left_at = time.monotonic()
            self._sweep()

    def find(self, key: str) -> Piece | None:
        """The piece with a key, on whichever desk."""
        with self._lock:
            return next((desk.pieces[key] for desk in self._desks.values() if key in desk.pieces), None)

    def close(self) -> None:
        """Everything off all of them."""
        self.writers.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            for desk in self._desks.values():
                desk.clear()
            self._desks.clear()

    def _sweep(self) -> None:
        now = time.monotonic()
        for key in [k for k, d in self._desks.items() if d.left_at is not None and now - d.left_at > KEPT_S]:
            self._desks.pop(key).clear()


def shown(folder: Path, mammogram: Mammogram) -> Pyramid:
    """The picture at every scale, kept in a file of the folder."""
    from mame.imaging.intensity import pixels_to_uint16

    return Pyramid.on_disk(folder / "shown.u2", mammogram.shape, lambda: pixels_to_uint16(mammogram.pixels))


def _discard(piece: Piece) -> None:
    if piece.written is not None:
        piece.written.cancel()
    piece.pyramid = None
    shutil.rmtree(piece.folder, ignore_errors=True)
