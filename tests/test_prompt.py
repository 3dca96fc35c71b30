"""The language: text and description say the same, in the paper's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mame import prompt
from mame.errors import MameError
from mame.mammogram import Area, Density, Description, LesionKind, View
from mame.prompt import Priority

vendors = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,11}", fullmatch=True).filter(lambda word: word != "mammogram")


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


descriptions = st.builds(
    Description,
    vendor=maybe(vendors),
    view=maybe(st.sampled_from(View)),
    density=maybe(st.sampled_from(Density)),
    area=maybe(st.sampled_from(Area)),
    lesion=maybe(st.sampled_from(LesionKind)),
)


@given(descriptions, st.sampled_from([Priority.DENSITY, Priority.AREA]))
def test_a_description_survives_the_way_through_text(said: Description, priority: Priority) -> None:
    assert prompt.parse(prompt.write(said, priority)) == said


@given(descriptions, st.sampled_from(Priority))
def test_a_text_survives_the_way_through_a_description(said: Description, priority: Priority) -> None:
    text = prompt.write(said, priority)
    parsed = prompt.parse(text)
    assert parsed is not None
    assert text in {prompt.write(parsed, other) for other in Priority}


@given(descriptions)
def test_case_and_white_space_do_not_matter(said: Description) -> None:
    text = prompt.write(said)
    assert prompt.parse(f"  {text.upper().replace(' ', '  ')}\n") == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # the paper's own prompts, word for word
        ("a mammogram in CC view with small area", Description(view=View.CC, area=Area.SMALL)),
        ("a mammogram in MLO view with very low density", Description(view=View.MLO, density=Density.A)),
        ("a mammogram in MLO view with very high density", Description(view=View.MLO, density=Density.D)),
        (
            "a siemens mammogram in MLO view with high density and small area",
            Description("siemens", View.MLO, Density.C, Area.SMALL),
        ),
        (
            "a hologic mammogram in CC view with big area and low density",
            Description("hologic", View.CC, Density.B, Area.BIG),
        ),
        ("a mammogram with a lesion", Description(lesion=LesionKind.LESION)),
        # the lesion kinds that extend it
        ("a mammogram with a mass", Description(lesion=LesionKind.MASS)),
        ("a mammogram with suspicious calcifications", Description(lesion=LesionKind.CALCIFICATIONS)),
    ],
)
def test_known_prompts(text: str, said: Description) -> None:
    assert prompt.parse(text) == said


def test_what_comes_first_has_priority() -> None:
    said = Description("siemens", View.MLO, Density.C, Area.SMALL)
    start = "a siemens mammogram in MLO view with "
    assert prompt.write(said, Priority.DENSITY) == f"{start}high density and small area"
    assert prompt.write(said, Priority.AREA) == f"{start}small area and high density"
    assert prompt.write(said, Priority.ONLY_DENSITY) == f"{start}high density"
    assert prompt.write(said, Priority.ONLY_AREA) == f"{start}small area"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mammogram",
        "an old photograph of a breast",
        "a mammogram in LM view",
        "a mammogram with high density and low density",
        "a mammogram with high area",
        "a mammogram with",
        "a big siemens mammogram",
    ],
)
def test_free_text_is_not_understood_but_not_refused(text: str) -> None:
    assert prompt.parse(text) is None


@pytest.mark.parametrize("vendor", ["two words", "mammogram", "-x", "a,b"])
def test_a_vendor_that_would_break_the_sentence_is_refused(vendor: str) -> None:
    with pytest.raises(MameError, match="vendor"):
        prompt.write(Description(vendor=vendor))
