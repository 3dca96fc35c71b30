"""Pictures, dispatch by kind, whole-or-absent files, manifests."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mame.errors import MameError
from mame.formats import files, png, record
from mame.formats.atomic import atomic_write
from mame.formats.manifest import append_manifest, read_manifest, write_manifest
from mame.formats.png import read_mask_png, read_png, write_mask_png, write_png
from mame.imaging.intensity import pixels_to_uint16, uint16_to_pixels
from mame.mammogram import Box, Laterality, Lesion, LesionKind, Mammogram, SpacingOrigin, View

from .conftest import MakeDicom, stored_12_bits
from .test_dicom_read import WINDOW

# -- PNG ------------------------------------------------------------------------------------------------------------


def test_a_generated_picture_comes_back_with_all_it_says(generated: Mammogram, tmp_path: Path) -> None:
    lesion = Lesion(LesionKind.MASS, Box(10.5, 20, 60, 70.25), birads="4", pathology="malignant")
    made = generated.with_(lesions=(lesion,))
    write_png(made, tmp_path / "a.png")
    found = read_png(tmp_path / "a.png")
    np.testing.assert_array_equal(found.pixels, uint16_to_pixels(pixels_to_uint16(made.pixels)))
    assert (found.spacing_mm, found.laterality, found.description) == (0.5, Laterality.L, made.description)
    assert found.lesions == (lesion,)
    assert found.synthetic
    assert found.provenance == made.provenance
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "I;16"
        assert image.info["Software"].startswith("MAM-E")
        assert image.info["Description"] == made.provenance["prompt"]
        assert "ynthetic" in image.info["Comment"]
        assert json.loads(image.info["mam-e"])["synthetic"] is True
        assert image.info["dpi"][0] == pytest.approx(50.8, rel=1e-3)


def test_noise_from_a_model_can_be_read_back(generated: Mammogram, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    write_png(generated.with_(pixels=noise), tmp_path / "n.png")
    np.testing.assert_allclose(read_png(tmp_path / "n.png").pixels, noise, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 16])
def test_painting_a_png_leaves_the_rest_bit_identical(breast: NDArray[np.float32], tmp_path: Path, bits: int) -> None:
    values = np.rint((0.05 + 0.9 * breast) * (2**bits - 1)).astype(f"u{bits // 8}")  # air is not 0 here
    Image.fromarray(values).save(tmp_path / "in.png")
    source = read_png(tmp_path / "in.png")
    assert source.pixels[0, -1] == 0
    painted = source.pixels.copy()
    painted[250:300, 100:160] = 0.9
    write_png(source.with_(pixels=painted, synthetic=True), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        written = np.asarray(image)
    assert written.dtype == values.dtype
    outside = ~Box(100, 250, 160, 300).to_mask(values.shape)
    np.testing.assert_array_equal(written[outside], values[outside])
    np.testing.assert_allclose(written[250:300, 100:160], 0.9 * (2**bits - 1), atol=0.51)
    found = read_png(tmp_path / "out.png")
    assert found.synthetic
    np.testing.assert_allclose(found.pixels[:200], source.pixels[:200], atol=1e-6)


def test_a_picture_becomes_dicom(breast: NDArray[np.float32], tmp_path: Path, generated: Mammogram) -> None:
    values = np.rint(breast * 255).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "in.png")
    source = files.read(tmp_path / "in.png", spacing_mm=0.1).with_(description=generated.description)
    files.write(source, tmp_path / "out.dcm")
    found = files.read(tmp_path / "out.dcm")
    np.testing.assert_allclose(found.pixels, source.pixels, atol=1e-6)
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.values, values)


def test_a_dicom_becomes_a_picture_of_its_greys(
    make_dicom: MakeDicom, breast: NDArray[np.float32], tmp_path: Path
) -> None:
    source = files.read(make_dicom(stored_12_bits(breast), **WINDOW))
    files.write(source, tmp_path / "out.png")
    found = files.read(tmp_path / "out.png")
    np.testing.assert_allclose(found.pixels, source.pixels, atol=1e-5)
    assert (found.spacing_mm, found.description.view) == (0.085, View.CC)
    assert not found.synthetic
    assert b"HOSPITAL" not in (tmp_path / "out.png").read_bytes()


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "LA", "jpeg", "colour"])
def test_grey_from_every_kind_of_picture(breast: NDArray[np.float32], tmp_path: Path, kind: str) -> None:
    grey = Image.fromarray(np.rint(breast * 255).astype(np.uint8))
    name = tmp_path / ("in.jpg" if kind == "jpeg" else "in.png")
    if kind == "jpeg":
        grey.save(name, "JPEG", quality=95)
    elif kind == "colour":
        Image.merge("RGB", [grey, grey.point(lambda v: v // 2), grey]).save(name)
    else:
        grey.convert(kind).save(name)
    found = files.read(name)
    scale = {"colour": 0.299 + 0.587 / 2 + 0.114}.get(kind, 1.0)
    tolerance = {"jpeg": 0.05, "P": 0.02, "colour": 0.01}.get(kind, 0.002)
    np.testing.assert_allclose(found.pixels[200:400, 20:120], scale * breast[200:400, 20:120], atol=tolerance)
    assert found.laterality is Laterality.L
    assert found.spacing_mm is None


def test_twelve_bits_in_sixteen(breast: NDArray[np.float32], tmp_path: Path) -> None:
    Image.fromarray(np.rint(breast / breast.max() * 4095).astype(np.uint16)).save(tmp_path / "in.png")
    assert read_png(tmp_path / "in.png").pixels.max() == 1.0


def test_foreign_resolution_is_not_believed(breast: NDArray[np.float32], tmp_path: Path) -> None:
    Image.fromarray(np.rint(breast * 255).astype(np.uint8)).save(tmp_path / "in.png", dpi=(72, 72))
    assert files.read(tmp_path / "in.png").spacing_mm is None
    given = files.read(tmp_path / "in.png", spacing_mm=0.07)
    assert (given.spacing_mm, given.spacing_origin) == (0.07, SpacingOrigin.GIVEN)


def test_bad_pictures(tmp_path: Path, breast: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(np.rint(breast * 255).astype(np.uint8)).save(good)
    data = good.read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "head.png").write_bytes(data[:20])
    Image.new("L", (300, 300), 128).save(tmp_path / "blank.png")
    for name, words in [
        ("cut.png", "damaged"),
        ("head.png", "truncated"),
        ("blank.png", "no breast"),
        ("no.png", "No such"),
    ]:
        with pytest.raises(MameError, match=words) as caught:
            read_png(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(png, "MAX_PIXELS", 100_000)
    with pytest.raises(MameError, match="more than a mammogram"):
        read_png(good)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    with pytest.raises(MameError, match="than a mammogram has"):
        read_png(tmp_path / "bomb.png")
    info = PngInfo()
    info.add_text("mam-e", "x" * 50_000_000, zip=True)
    Image.new("L", (300, 300)).save(tmp_path / "text.png", pnginfo=info)
    with pytest.raises(MameError, match="damaged"):
        read_png(tmp_path / "text.png")


WRONG_RECORDS: list[Any] = [
    "no json",
    "{",
    "[" * 100_000,
    '{"mam-e": 2}',
    '{"mam-e": 1, "spacing_mm": NaN}',
    json.dumps({"mam-e": 1, "spacing_mm": "0.1", "laterality": ["L"], "description": [], "lesions": {}, "made_by": 1}),
    json.dumps({"mam-e": 1, "spacing_mm": -1, "description": {"view": "XX", "vendor": "A", "density": {}, "area": 3}}),
    json.dumps({"mam-e": 1, "lesions": [None, 1, {"kind": "mass"}, {"kind": "x", "box": [0, 0, 1, 1]}]}),
    json.dumps({"mam-e": 1, "lesions": [{"kind": "mass", "box": [5, 5, 1, 1]}, {"kind": [], "box": [0, 0, 9, 9]}]}),
    '{"mam-e": 1, "spacing_mm": 1e999, "lesions": [{"kind": "mass", "box": [0, 0, 1' + "0" * 400 + ", 3]}]}",
    json.dumps({"mam-e": 1, "lesions": [{"kind": "mass", "box": [9000, 9000, 9100, 9100]}]}),
]


@pytest.mark.parametrize("text", WRONG_RECORDS)
def test_a_wrong_record_is_ignored(breast: NDArray[np.float32], tmp_path: Path, text: str) -> None:
    info = PngInfo()
    info.add_text("mam-e", text)
    Image.fromarray(np.rint(breast * 255).astype(np.uint8)).save(tmp_path / "w.png", pnginfo=info)
    found = read_png(tmp_path / "w.png")
    assert (found.spacing_mm, found.laterality, found.lesions) == (None, Laterality.L, ())
    assert found.description.view is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["box", "kind", "view"]), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["spacing_mm", "laterality", "description", "lesions", "made_by", "synthetic", "spacing_origin"]
        ),
        json_values,
    )
)
def test_no_record_breaks_the_reader(said: dict[str, Any]) -> None:
    parsed = record.from_json(json.dumps({"mam-e": 1, **said}))
    assert parsed is not None
    record.apply(parsed, Mammogram(np.zeros((8, 8), np.float32)))


def test_masks(tmp_path: Path) -> None:
    mask = np.zeros((50, 40), dtype=bool)
    mask[10:20, 5:9] = True
    write_mask_png(mask, tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask_png(tmp_path / "m.png"), mask)
    write_mask_png(~mask & mask, tmp_path / "e.png")
    assert not read_mask_png(tmp_path / "e.png").any()
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "ones.png")
    np.testing.assert_array_equal(read_mask_png(tmp_path / "ones.png"), mask)
    with pytest.raises(MameError, match="two-dimensional"):
        write_mask_png(mask[None], tmp_path / "x.png")


# -- dispatch -------------------------------------------------------------------------------------------------------


def test_the_first_bytes_decide_not_the_name(
    make_dicom: MakeDicom, breast: NDArray[np.float32], generated: Mammogram, tmp_path: Path
) -> None:
    assert files.read(make_dicom(stored_12_bits(breast), "dicom.png", **WINDOW)).description.vendor == "siemens"
    write_png(generated, tmp_path / "png.dcm")
    assert files.read(tmp_path / "png.dcm").synthetic
    (tmp_path / "x.dcm").write_bytes(b"GIF89a" + b"\0" * 200)
    with pytest.raises(MameError, match=r"x\.dcm: is not a DICOM, PNG, JPEG or PGM file"):
        files.read(tmp_path / "x.dcm")
    with pytest.raises(MameError, match="directory"):
        files.read(tmp_path)


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf"), 50.0])
def test_a_spacing_that_cannot_be(tmp_path: Path, spacing: float) -> None:
    with pytest.raises(MameError, match="pixel spacing"):
        files.read(tmp_path / "any.png", spacing_mm=spacing)


def test_an_unknown_suffix(generated: Mammogram, tmp_path: Path) -> None:
    with pytest.raises(MameError, match=r"must end in \.png"):
        files.write(generated, tmp_path / "a.tiff")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a.dcm"])
def test_an_existing_file_stays_without_force(generated: Mammogram, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(MameError, match="exists already"):
        files.write(generated, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"mine"
    files.write(generated, tmp_path / name, force=True)
    assert files.read(tmp_path / name).synthetic
    assert [path.name for path in tmp_path.iterdir()] == [name]


# -- whole or absent ------------------------------------------------------------------------------------------------


def test_nothing_stays_of_a_write_that_failed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a", force=True) as file:  # noqa: PT012
        file.write(b"new")
        raise ZeroDivisionError
    with (
        pytest.raises(MameError, match=r"a: No space left on device"),
        atomic_write(tmp_path / "a", force=True) as file,
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_while_closing(tmp_path: Path, generated: Mammogram, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(os, "replace", full)
    for name in ("a.png", "a.dcm"):
        with pytest.raises(MameError, match="No space left on device"):
            files.write(generated, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written_to(tmp_path: Path, generated: Mammogram) -> None:
    with pytest.raises(MameError, match="does not exist"):
        files.write(generated, tmp_path / "no" / "a.png")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MameError, match="Not a directory"):
        files.write(generated, tmp_path / "file" / "a.dcm")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(MameError, match="is a folder"):
        files.write(generated, tmp_path / "folder.png", force=True)
    if os.geteuid() != 0:  # root may write everywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(MameError, match="Permission denied"):
            files.write(generated, tmp_path / "locked" / "a.png")


def test_of_two_writers_the_second_is_told(tmp_path: Path) -> None:
    with pytest.raises(MameError, match="exists already"), atomic_write(tmp_path / "a") as slow:  # noqa: PT012
        slow.write(b"slow")
        with atomic_write(tmp_path / "a") as quick:
            quick.write(b"quick")
    assert (tmp_path / "a").read_bytes() == b"quick"
    assert len(list(tmp_path.iterdir())) == 1


def test_long_names_and_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with atomic_write(path) as file:
        file.write(b"1")
    (tmp_path / "usual").write_bytes(b"1")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


# -- manifest -------------------------------------------------------------------------------------------------------


def test_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path, [{"file": "0000.png", "seed": np.int64(3), "box": Box(1, 2, 3, 4)}])
    append_manifest(tmp_path, [{"file": "0001.png", "prompt": "ü\u2028\n"}])
    assert read_manifest(tmp_path) == [
        {"file": "0000.png", "seed": 3, "box": [1, 2, 3, 4]},
        {"file": "0001.png", "prompt": "ü\u2028\n"},
    ]
    with pytest.raises(MameError, match=r"manifest\.jsonl"):
        append_manifest(tmp_path, [{"bad": object()}])
    assert len(read_manifest(tmp_path)) == 2
    (tmp_path / "manifest.jsonl").write_text('{"a": 1}\n[2]\n')
    with pytest.raises(MameError, match="line 2 is not a JSON object"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".dcm"])
def test_uncleared_the_greys_are_those_of_the_file(
    breast: NDArray[np.float32], make_dicom: MakeDicom, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".dcm":
        make_dicom(stored_12_bits(breast) + 100, path.name, **WINDOW)
    else:
        Image.fromarray(np.rint(20 + 200 * breast).astype(np.uint8)).save(path)
    cleared, found = files.read(path), files.read_uncleared(path)
    inside = cleared.pixels > 0
    np.testing.assert_array_equal(found.pixels[inside], cleared.pixels[inside])
    assert found.pixels[~inside].max() > 0
    assert (cleared.laterality, found.spacing_mm) == (Laterality.L, cleared.spacing_mm)
