"""From what a user typed to what can be made; every mistake is told in plain words."""

from __future__ import annotations

import secrets
from typing import Any

from mame import prompt as language
from mame.errors import MameError
from mame.mammogram import Area, Density, Description, LesionKind, View
from mame.web.studio import texts

LARGEST_SEED = 2**63 - 1
MOST_STEPS, MOST_GUIDANCE, MOST_PICTURES, MOST_VARIANTS = 100, 20.0, 16, 4
LONGEST_TEXT = 1000


def new_seed() -> str:
    """One thrown with a die."""
    return str(secrets.randbelow(1_000_000))


def seed_of(said: Any) -> int:
    """A seed. Raises MameError for what is no whole number of 0 or more."""
    try:
        value = int(str(said).strip())
    except ValueError:
        raise MameError(texts.NOT_WHOLE.format(name=texts.SEED, said=str(said)[:40])) from None
    if value < 0:
        raise MameError(texts.NOT_WHOLE.format(name=texts.SEED, said=str(said)[:40]))
    if value > LARGEST_SEED:
        raise MameError(texts.OUT_OF_RANGE.format(name=texts.SEED, said=str(value)[:40], least=0, most=LARGEST_SEED))
    return value


def number_of(name: str, said: Any, least: float, most: float) -> float:
    """A number within limits. Raises MameError otherwise."""
    try:
        value = float(said)
    except (TypeError, ValueError):
        raise MameError(texts.NOT_A_NUMBER.format(name=name, said=said)) from None
    if not least <= value <= most:
        raise MameError(texts.OUT_OF_RANGE.format(name=name, said=f"{value:g}", least=f"{least:g}", most=f"{most:g}"))
    return value


def whole_of(name: str, said: Any, least: int, most: int) -> int:
    """A whole number within limits. Raises MameError otherwise."""
    value = number_of(name, said, least, most)
    if value != int(value):
        raise MameError(texts.NOT_WHOLE.format(name=name, said=said))
    return int(value)


def prompt_of(said: Any) -> str:
    """A prompt, in one line. Raises MameError for an empty one."""
    text = " ".join(str(said or "").split())[:LONGEST_TEXT]
    if not text:
        raise MameError(texts.NO_PROMPT)
    return text


def built_prompt(vendor: str, view: str, density: str, area: str, priority: str) -> str:
    """The prompt that the words make; a word that is left to the model is "any"."""

    def word(said: str) -> str | None:
        return None if said in (texts.LEFT_TO_MODEL, "", None) else said

    said_view, said_density, said_area = word(view), word(density), word(area)
    description = Description(
        vendor=word(vendor),
        view=View(said_view) if said_view else None,
        density=Density(said_density) if said_density else None,
        area=Area(said_area) if said_area else None,
    )
    return language.write(description, language.Priority(priority))


def lesion_prompt(kind: str, view: str | None) -> str:
    """The prompt that paints a lesion of a kind, and says the view where the file did not."""
    return language.write(Description(view=View(view) if view else None, lesion=LesionKind(kind)))


def varied(prompt: str, name: str, vendors: tuple[str, ...]) -> list[tuple[str, str]]:
    """(word, prompt) for every word that an attribute of a prompt can have; the order of its words is kept.

    Raises MameError for free text, whose words can't be told apart.
    """
    from dataclasses import replace

    said = language.parse(prompt)
    if said is None:
        raise MameError(texts.FREE_TEXT)
    words: dict[str, list[Any]] = {
        "vendor": list(vendors), "view": list(View), "density": list(Density), "area": list(Area),
    }  # fmt: skip
    if not words.get(name):
        raise MameError(texts.NO_WORDS.format(name=name))
    area_first = prompt.find(" area") < prompt.find(" density") if " area" in prompt else False
    priority = language.Priority.AREA if area_first else language.Priority.DENSITY
    shown = language.DENSITY_WORDS if name == "density" else {word: str(word) for word in words[name]}
    return [(shown[word], language.write(replace(said, **{name: word}), priority)) for word in words[name]]


def one_of(name: str, said: Any, known: tuple[str, ...]) -> str:
    """One of a few words. Raises MameError otherwise."""
    if said not in known:
        raise MameError(texts.NONE_OF.format(name=name, said=str(said)[:40], known=", ".join(known)))
    return str(said)
