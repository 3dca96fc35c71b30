"""The same for programs: what `gradio_client` can call, with plain values in and out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gradio as gr

from mame.errors import MameError
from mame.web.studio import forms, texts
from mame.web.studio.desk import Piece
from mame.web.studio.generate import MODEL_WORK, making
from mame.web.studio.work import Studio


def add_api(studio: Studio) -> None:
    """Endpoints of a studio, inside its Blocks."""

    def generate(
        request: gr.Request,
        prompt: str,
        seed: int = 0,
        count: int = 1,
        steps: int = 24,
        guidance: float = 4.0,
        negative: str = "",
        side: str = "L",
        model: str = "",
    ) -> list[dict[str, Any]]:
        """Healthy mammograms from a prompt. Each with a key, what is measured in it, its recipe and its files."""
        with _told():
            asked = making(prompt, negative, side, guidance, steps, seed)
            number = forms.whole_of(texts.COUNT, count, 1, forms.MOST_PICTURES)
            name = studio.check_model(model)
            desk = studio.desks.of(request.session_hash)
            return [_said(_made(studio.make(desk, name, replace(asked, index=i)))) for i in range(number)]

    gr.events.api(generate, api_name="generate", concurrency_id=MODEL_WORK, concurrency_limit=1)


@contextmanager
def _told() -> Iterator[None]:
    """Around what may be a mistake of the caller: it is told as Gradio tells its own."""
    try:
        yield
    except MameError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _made(work: Any) -> Piece:
    while True:
        try:
            next(work)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]


def _said(piece: Piece) -> dict[str, Any]:
    ends = ["png", *(["dcm"] if piece.facts["dicom"] else []), "zip"]
    files = {end: f"pieces/{piece.id}/file.{end}" for end in ends}
    return {"key": piece.id, **piece.facts, "recipe": list(piece.commands), "files": files}
