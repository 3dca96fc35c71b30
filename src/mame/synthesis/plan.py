"""The plan of a cohort: what is missing, in YAML. Every key is checked before anything runs, unknown ones refused."""

from __future__ import annotations

import datetime
import difflib
import math
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mame import prompt as language
from mame.errors import MameError
from mame.formats.record import MAX_SPACING_MM
from mame.mammogram import Area, Density, Description, Laterality, LesionKind, View

LARGEST_LESION_MM = 80.0  # the widest circle inside a very large compressed breast
SMALLEST_LESION_MM = 3.0
VIEWS_A_CASE = 4
SUM_TOLERANCE = 1e-6

Shares = dict[str, float | int]


class Output(StrEnum):
    """What a cohort holds beside its prepared set."""

    PNG = "png"
    DICOM = "dicom"
    COCO = "coco"
    YOLO = "yolo"
    VINDR = "vindr"
    SEG = "seg"
    SR = "sr"


class Shape(StrEnum):
    """The outline of a lesion's region."""

    ORGANIC = "organic"
    BOX = "box"


class Prior(StrEnum):
    """Where in the breast lesions are likelier."""

    DENSE = "dense"  # in proportion to the dense tissue around: cancers arise in gland
    EVEN = "even"  # the same everywhere


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _one_word(said: Any) -> Any:
    """`siemens` for `{siemens: 1.0}`; keys of any plain kind as text."""
    if isinstance(said, dict):
        return {key if isinstance(key, str) else f"{key}": value for key, value in said.items()}
    return said if said is None or isinstance(said, list) else {f"{said}": 1.0}


Words = Annotated[Shares, BeforeValidator(_one_word)]


class FromSet(_Part):
    """Sizes as in a prepared data set: the longer sides of its own lesions."""

    set: Path


def _range(said: Any) -> Any:
    return [said, said] if isinstance(said, int | float) and not isinstance(said, bool) else said


class Lesions(_Part):
    """The lesions. share: of the images that have any; kinds, number: shares or counts of lesions, of such images.

    size_mm: one length, [least, most], or {set: FOLDER}: of the longer side. steps, guidance: of the painting.
    """

    share: float = Field(default=0.0, ge=0, le=1)
    kinds: Words = {LesionKind.MASS: 1.0}
    number: Words = {"1": 1.0}
    size_mm: Annotated[tuple[float, float] | FromSet, BeforeValidator(_range)] = (8.0, 25.0)
    shape: Shape = Shape.ORGANIC
    prior: Prior = Prior.DENSE
    steps: int = Field(default=24, ge=1, le=1000)
    guidance: float = Field(default=4.0, ge=0, le=100)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _closed("kinds", self.kinds, [str(kind) for kind in LesionKind])
        for number in self.number:
            if not number.isdecimal() or not 1 <= int(number) <= 5:
                raise ValueError(f"number: {number!r} lesions in an image; 1 to 5 can be asked for")
        if isinstance(self.size_mm, tuple):
            least, most = self.size_mm
            if not (math.isfinite(least) and math.isfinite(most) and least <= most):
                raise ValueError(f"size_mm: [{least:g}, {most:g}] is no range from small to large")
            if least < SMALLEST_LESION_MM:
                raise ValueError(f"size_mm: {least:g} mm is too small to paint; at least {SMALLEST_LESION_MM:g} mm")
            if most > LARGEST_LESION_MM:
                raise ValueError(
                    f"size_mm: {most:g} mm is larger than any breast has room for; at most {LARGEST_LESION_MM:g} mm"
                )
        return self


class Background(_Part):
    """Real mammograms to paint into: the healthy ones of a prepared set's side, or of a folder of DICOM files.

    spacing_mm: size of a pixel where the files lack it.
    """

    set: Path | None = None
    side: str = "train"
    dicom: Path | None = None
    spacing_mm: float | None = Field(default=None, gt=0, lt=MAX_SPACING_MM)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.set is None) == (self.dicom is None):
            raise ValueError("give set: FOLDER or dicom: FOLDER, one of them")
        if self.set is not None and self.spacing_mm is not None:
            raise ValueError("spacing_mm: a prepared set knows the size of its pixels")
        _closed("side", {self.side: 1}, ["train", "validation", "test"])
        return self


class Accept(_Part):
    """How far what is measured may be from what was ordered; null for what is not to be looked at.

    tries: pictures made for one order before it is given up; in each, a lesion is tried three times. view, side:
    whether they must be right. density, area: classes off. visible: least overlap (IoU) of a lesion's box and of what
    changed.
    """

    tries: int = Field(default=8, ge=1, le=100)
    view: bool = True
    side: bool = True
    density: int | None = Field(default=1, ge=0, le=3)
    area: int | None = Field(default=0, ge=0, le=2)
    visible: float | None = Field(default=0.2, ge=0, le=1)


class Plan(_Part):
    """A cohort on order. Shares add up to 1, counts to `count`; what is not said of the breasts is left to the model.

    view and side are half and half where nothing is said. cases: images come in cases of four views that share patient,
    vendor, density and area. batch: images made at once; 1 on a CPU and 8 on a GPU where nothing is said. date: of the
    DICOM studies, fixed so that the same plan writes the same bytes. split: shares of the patients.
    """

    count: int = Field(ge=1, le=100_000_000)
    seed: int = Field(default=0, ge=0)
    model: str = "mini"
    lesion_model: str | None = None
    vendor: Words | None = None
    view: Words | None = None
    side: Words | None = None
    density: Words | None = None
    area: Words | None = None
    cases: bool = False
    background: Background | None = None
    lesions: Lesions = Field(default_factory=Lesions)
    steps: int = Field(default=24, ge=1, le=1000)
    guidance: float = Field(default=4.0, ge=0, le=100)
    negative: str = ""
    batch: int | None = Field(default=None, ge=1, le=1024)
    accept: Accept = Field(default_factory=Accept)
    split: Words = {"train": 1.0}
    date: datetime.date = datetime.date(2000, 1, 1)
    outputs: tuple[Output, ...] = (Output.PNG,)

    @model_validator(mode="after")
    def _check(self) -> Self:
        vocabularies: dict[str, Sequence[str] | None] = {
            "vendor": None,
            "view": list(View),
            "side": list(Laterality),
            "density": list(Density),
            "area": list(Area),
            "split": ["train", "validation", "test"],
        }
        for name, known in vocabularies.items():
            shares = getattr(self, name)
            if shares is not None:
                _closed(name, shares, known)
                check_shares(name, shares, self.count if name != "split" else None)
        check_shares("lesions.kinds", self.lesions.kinds, None)
        check_shares("lesions.number", self.lesions.number, None)
        if self.cases:
            self._check_cases()
        self._check_outputs()
        return self

    def _check_cases(self) -> None:
        if self.count % VIEWS_A_CASE:
            raise ValueError(
                f"cases: count must be a multiple of {VIEWS_A_CASE}, not {self.count}: a case has four views"
            )
        if self.background is not None:
            raise ValueError("cases: real backgrounds come with the views that they have; leave cases out")
        for name in ("view", "side"):
            shares = getattr(self, name)
            if shares is not None and (len(shares) != 2 or len(set(shares.values())) != 1):
                raise ValueError(f"{name}: a case has both in equal parts; leave {name} out")

    def _check_outputs(self) -> None:
        if not {Output.PNG, Output.DICOM} & set(self.outputs):
            raise ValueError("outputs: give png or dicom, or both: labels need images")
        for output in (Output.SEG, Output.SR):
            if output in self.outputs and Output.DICOM not in self.outputs:
                raise ValueError(f"outputs: {output} refers to DICOM objects; add dicom")

    def differences(self, other: Plan) -> list[str]:
        """What another plan says otherwise, in words: `count 200 instead of 100` where that one says 200."""
        mine, theirs = self._flat(), other._flat()
        return [
            f"{key} {_shown(theirs.get(key))} instead of {_shown(mine.get(key))}"
            for key in dict.fromkeys([*mine, *theirs])
            if mine.get(key) != theirs.get(key)
        ]

    def without_paths(self) -> dict[str, Any]:
        """The plan in values JSON can hold, folders by their names alone: where they lie is nobody else's business."""
        said = self.model_dump(mode="json")
        for part, key in (
            (said["background"], "set"),
            (said["background"], "dicom"),
            (said["lesions"]["size_mm"], "set"),
        ):
            if isinstance(part, dict) and part[key] is not None:
                part[key] = Path(part[key]).resolve().name
        for key in ("model", "lesion_model"):
            if said[key] is not None and Path(said[key]).is_dir():
                said[key] = Path(said[key]).resolve().name
        return said

    def _flat(self) -> dict[str, Any]:
        """Every key with its value, `lesions.share` for those inside another."""
        found: dict[str, Any] = {}
        for key, value in self.without_paths().items():
            if key in ("lesions", "accept", "background") and value is not None:
                found |= {f"{key}.{inner}": said for inner, said in value.items()}
            else:
                found[key] = value
        return found

    def to_yaml(self) -> str:
        """The plan with every default, as YAML that reads back as the same plan."""
        said = self.model_dump(mode="json")
        return yaml.safe_dump(said, sort_keys=False, allow_unicode=True)


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """The plan in a YAML file. Raises MameError, in one line with file and key, for whatever is wrong with it."""
    place = Path(path)
    try:
        said = _NoRepeats(place.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise MameError(f"{place}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise MameError(f"{place}: is not UTF-8 text") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MameError(f"{place}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict):
        raise MameError(f"{place}: a plan is lines of `key: value`, such as `count: 200`")
    try:
        return Plan(**said)
    except ValidationError as error:
        raise MameError(f"{place}: {_told(error)}") from None
    except TypeError:
        raise MameError(f"{place}: every key must be a word") from None


def check_shares(name: str, shares: Shares, count: int | None) -> None:
    """Raises ValueError where shares do not add up to 1, or counts (whole numbers) to `count`, if that is given."""
    values = list(shares.values())
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"{name}: a share can't be {min(values)}")
    total = sum(values)
    if is_counts(shares, count) or abs(total - 1) <= SUM_TOLERANCE:
        return
    wanted = "1" if count is None else f"1 (shares) or {count} (counts)"
    raise ValueError(f"{name}: {_shown(shares)} add up to {total:g}, not to {wanted}")


def is_counts(shares: Shares, count: int | None) -> bool:
    """Whether these are numbers of images rather than shares of them."""
    whole = all(isinstance(value, int) for value in shares.values())
    return whole and count is not None and sum(shares.values()) == count


def _closed(name: str, shares: Shares, known: Sequence[str] | None) -> None:
    if not shares:
        raise ValueError(f"{name}: is empty")
    for word in shares:
        if known is not None and word not in known:
            raise ValueError(f"{name}: {word!r} is none of {', '.join(known)}")
        if known is None:
            try:
                language.write(Description(vendor=word))
            except MameError as error:
                raise ValueError(str(error)) from None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(inner) for inner in value) + "]"
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _told(error: ValidationError) -> str:
    """The first thing that is wrong, in one line; an unknown key before others, as it is often the cause."""
    found = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    where = [str(part) for part in first["loc"] if part not in ("FromSet", "tuple[float, float]", "float", "int")]
    if first["type"] == "extra_forbidden":
        inside, key = where[:-1], where[-1]
        parts: dict[str, type[BaseModel]] = {"lesions": Lesions, "background": Background, "accept": Accept}
        known = list((parts.get(inside[0], FromSet) if len(inside) == 1 else FromSet if inside else Plan).model_fields)
        near = difflib.get_close_matches(key, known, 1)
        advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"unknown key {'.'.join(where)!r}; {advice}"
    text = first["msg"].removeprefix("Value error, ")
    if len(where) == 1 and text.partition(":")[0] in Lesions.model_fields:
        return f"{where[0]}.{text}"
    return f"{'.'.join(where)}: {text}" if where else text


class _NoRepeats(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's own readers keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, str | int | float) and key in seen:
                raise yaml.YAMLError(f"the key {key!r} is there twice (line {key_node.start_mark.line + 1})")
            seen.add(key if isinstance(key, str | int | float) else id(key_node))
        return super().construct_mapping(node, deep)
