"""What users write, and what is said of it: numbers in text boxes, and errors in plain words where they happen."""

from __future__ import annotations

import functools
import html
import inspect
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from mame.errors import MameError
from mame.web.studio import texts

logger = logging.getLogger(__name__)


def whole_number(value: Any, name: str) -> int:
    """A whole number of 0 or more. Raises MameError with the name of the box."""
    text = str(value).strip()
    if not text.isdecimal():
        raise MameError(texts.NOT_A_NUMBER.format(name=name, value=text[:40]))
    return int(text)


def in_words(run: Callable[..., Any], status: gr.Markdown) -> Callable[..., Any]:
    """A handler of the page whose MameErrors become the text of `status`, near to what was pressed.

    What nobody foresaw is logged where the studio runs, and told as that.
    """
    if inspect.isgeneratorfunction(run):

        @functools.wraps(run)
        def each(*arguments: Any) -> Any:
            try:
                yield from run(*arguments)
            except Exception as error:
                yield {status: _trouble(error)}

        return each

    @functools.wraps(run)
    def once(*arguments: Any) -> Any:
        try:
            return run(*arguments)
        except Exception as error:
            return {status: _trouble(error)}

    return once


def for_programs(run: Callable[..., Any]) -> Callable[..., Any]:
    """A handler that programs call: its MameErrors reach them as they are, without a traceback."""
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


def _trouble(error: Exception) -> str:
    if isinstance(error, MameError):
        said = str(error)
    else:
        logger.error("the studio failed", exc_info=error)
        said = texts.UNFORESEEN.format(kind=type(error).__name__)
    return f'<span class="mame-trouble">{html.escape(said)}</span>'
