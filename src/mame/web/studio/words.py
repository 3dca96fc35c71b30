"""What users write, and what is said of it: numbers in text boxes, and errors in plain words where they happen."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import gradio as gr

from mame.errors import MameError
from mame.web.studio import texts


def whole_number(value: Any, name: str) -> int:
    """A whole number of 0 or more. Raises MameError with the name of the box."""
    text = str(value).strip()
    if not text.isdecimal():
        raise MameError(texts.NOT_A_NUMBER.format(name=name, value=text[:40]))
    return int(text)


def plain_error(run: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose MameErrors are shown to the user as they are, without a traceback."""
    if inspect.isgeneratorfunction(run):

        @functools.wraps(run)
        def each(*arguments: Any) -> Any:
            try:
                yield from run(*arguments)
            except MameError as error:
                raise gr.Error(str(error), print_exception=False, duration=None) from None

        return each

    @functools.wraps(run)
    def once(*arguments: Any) -> Any:
        try:
            return run(*arguments)
        except MameError as error:
            raise gr.Error(str(error), print_exception=False, duration=None) from None

    return once
