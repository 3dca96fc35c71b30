"""`mam-e assess` as a user runs it: the report of two small sets, and what it says of folders that can't be asked."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from assess.readers.sets import make_set
from mame.assess.backbones import Backbone, features_of, open_inception
from mame.assess.features import CACHE, measure
from mame.assess.pictures import Picture
from mame.assess.verdicts import verdicts
from mame.cli import app
from mame.dataset.read import read_picture, read_values
from mame.errors import MameError
from mame.mammogram import Laterality


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(tmp_path_factory.mktemp("measures")))
        yield


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(real, synthetic)"""
    folder = tmp_path_factory.mktemp("assess")
    return make_set(folder, 0, 10, 160), make_set(folder, 40, 6, 160)


class Trap:
    """What a weight file could hold: something that runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["assess", *map(str, arguments), "--workers", "1"])
    return result.exit_code, result.output


def plain(source: Path, folder: Path, size: int = 160) -> Path:
    """Copies of a prepared set's pictures, as anybody's PNG."""
    folder.mkdir(parents=True)
    for path in sorted(source.glob("t*/*.png")):
        Image.fromarray(read_values(path)).resize((size, size), Image.Resampling.NEAREST).save(folder / path.name)
    return folder


@pytest.fixture(scope="module")
def report(sets: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "report"
    code, said = run(*sets, "--out", out)
    assert code == 0, said
    assert said.splitlines()[-1] == str(out / "report.html")
    return out


def test_the_report_answers_every_question_with_figures(report: Path) -> None:
    said = json.loads((report / "report.json").read_text())
    assert {"fidelity", "told_apart", "variety", "adherence", "copies", "lesions"} <= set(said)
    assert {"frd", "frechet_mammogram", "kid_mammogram", "spectrum_slope"} <= set(said["fidelity"])
    for section, name in (("fidelity", "frd"), ("fidelity", "kid_mammogram"), ("copies", "excess_rate")):
        assert {"value", "low", "high", "floor", "n"} <= set(said[section][name])
    frd = said["fidelity"]["frd"]
    assert frd["low"] <= frd["value"] <= frd["high"]
    assert any("unreliable" in note for note in frd["notes"])  # fewer pictures than features, and the value kept
    assert said["counts"]["synthetic"] == 6
    controls = said["copies"]["controls"]
    assert set(controls) == {"exact", "mirrored", "noise 5 %", "autoencoder"}
    assert controls["exact"] == controls["mirrored"] == 1.0
    assert controls["noise 5 %"] >= 0.95
    assert set(said["copies"]["embedding_controls"]) == {"exact", "noise 5 %", "autoencoder"}
    for judge in ("network", "rules"):  # floors: the same judge on the real pictures
        for name in ("view", "density", "area"):
            assert 0 <= said["adherence"][name][judge]["accuracy"]["floor"] <= 1
    assert said["adherence"]["lesion"]["network"]["accuracy"]["n"] == 6
    assert said["copies"]["rate"]["floor"] == said["copies"]["held_out_rate"]["value"]
    assert said["provenance"]["seed"] == 0
    assert len(said["provenance"]["real"]["sha256"]) == 64
    assert any("phantoms themselves" in note or "test side" in note for note in said["notes"]) or said["notes"] == []


def test_the_page_needs_nothing_else(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/png;base64,") >= 12
    for question in (
        "Do they look real?",
        "Can a machine tell them apart?",
        "Are they varied?",
        "Do they copy patients?",
    ):
        assert question in page
    assert str(report.parent) not in page  # no path of anybody's machine


def figures_in(said: Any) -> list[dict[str, Any]]:
    """Every figure of a report, wherever it stands."""
    if isinstance(said, list):
        return [figure for one in said for figure in figures_in(one)]
    if not isinstance(said, dict):
        return []
    own = [said] if {"value", "low", "high", "floor"} <= set(said) else []
    return own + [figure for one in said.values() for figure in figures_in(one)]


def test_verdicts_find_words_for_what_could_not_be_known(report: Path) -> None:
    text = (report / "report.json").read_text()
    count = len(figures_in(json.loads(text)))
    assert count > 40
    for missing in (("floor",), ("low", "high"), ("low", "high", "floor"), ("value", "low", "high", "floor")):
        for which in [range(count), *([number] for number in range(count))]:
            said = json.loads(text)
            figures = figures_in(said)
            for number in which:
                figures[number].update(dict.fromkeys(missing))
            assert all("None" not in one.text.removeprefix("None was found") for one in verdicts(said))


def test_a_set_of_a_few_patients_has_a_report(sets: tuple[Path, Path], tmp_path: Path) -> None:
    code, said = run(sets[1], plain(sets[0], tmp_path / "made"), "--out", tmp_path / "out")
    assert code == 0, said
    assert (tmp_path / "out" / "report.html").is_file()


def test_without_out_the_report_has_a_folder_of_its_own(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run(*sets)
    assert code == 0, said
    assert said.splitlines()[-1] == "mam-e-out/assess-1/report.html"
    assert {path.name for path in (tmp_path / "mam-e-out" / "assess-1").iterdir()} == {"report.html", "report.json"}


def test_the_same_seed_gives_the_same_report(report: Path, sets: tuple[Path, Path], tmp_path: Path) -> None:
    code, said = run(*sets, "--out", tmp_path / "again", "--baseline", report / "report.json")
    assert code == 0, said
    once, again = (json.loads((folder / "report.json").read_text()) for folder in (report, tmp_path / "again"))
    compared = again.pop("baseline")
    assert {row["name"] for row in compared} >= {"frd", "kid_mammogram", "auroc", "recall", "excess_rate"}
    assert all(row["value"] == row["baseline"] for row in compared)
    for one in (once, again):
        one["provenance"].pop("seconds")
    assert once == again


def test_a_folder_twice_is_all_copies(sets: tuple[Path, Path], tmp_path: Path) -> None:
    folder = plain(sets[0], tmp_path / "plain")
    code, said = run(folder, folder, "--out", tmp_path / "report")
    assert code == 0, said
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["copies"]["rate"]["value"] == 1.0
    assert found["copies"]["excess_rate"]["low"] > 0
    assert found["fidelity"]["frd"]["value"] is None or found["fidelity"]["frd"]["value"] < -5
    assert any("to the byte" in note for note in found["notes"])
    assert any("no prepared data set" in note for note in found["notes"])
    assert any("Prompt adherence" in note for note in found["untested"])
    assert found["lesions"] is None


def test_a_prepared_set_twice_is_all_copies(sets: tuple[Path, Path], tmp_path: Path) -> None:
    code, said = run(sets[0], sets[0], "--out", tmp_path / "report")
    assert code == 0, said
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["copies"]["rate"]["value"] == 1.0
    assert found["copies"]["threshold_from"] == "training"
    assert any("same folder" in note for note in found["notes"])
    assert found["copies"]["identical"] == found["counts"]["synthetic"] == 10
    assert "Do they copy patients? bad: 10 of them are, to the byte, training pictures" in said


def test_one_folder_inside_the_other_is_not_counted_twice(sets: tuple[Path, Path], tmp_path: Path) -> None:
    folder = plain(sets[0], tmp_path / "plain")
    count = len(list(folder.glob("*.png")))
    plain(sets[1], folder / "made")
    code, said = run(folder, folder / "made", "--out", tmp_path / "report")
    assert code == 0, said
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["counts"]["real"] == count
    assert any("lies in the real one" in note for note in found["notes"])
    assert not any("to the byte" in note for note in found["notes"])


def test_a_cache_that_is_damaged_or_read_only_is_no_trouble(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Picture("x", next((sets[0] / "test").glob("*.png")), facing=Laterality.L)
    monkeypatch.setenv(CACHE, str(tmp_path))
    first = measure([picture], say=lambda text: None).measures
    (kept,) = tmp_path.rglob("*.npz")
    for damaged in (b"", b"PK", kept.read_bytes()[:500], bytes(200)):
        kept.write_bytes(damaged)
        again = measure([picture], say=lambda text: None).measures
        assert np.array_equal(first.radiomic, again.radiomic)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(CACHE, str(tmp_path / "file"))  # no folder can be made there
    assert len(measure([picture], say=lambda text: None).measures) == 1


def test_a_set_that_holds_training_pictures_is_found_out(sets: tuple[Path, Path], tmp_path: Path) -> None:
    mixed = plain(sets[1], tmp_path / "mixed")
    stolen = sorted((sets[0] / "train").glob("*.png"))[:3]
    for path in stolen:
        shutil.copy(path, mixed / f"stolen-{path.name}")
    code, said = run(sets[0], mixed, "--out", tmp_path / "report")
    assert code == 0, said
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    worst = {(pair["synthetic"], round(pair["likeness"], 3)) for pair in found["copies"]["worst"][:3]}
    assert len(worst) == 3
    assert all(likeness == 1.0 for _, likeness in worst)
    assert any(f"{len(stolen)} of" in note and "training pictures" in note for note in found["notes"])


@pytest.mark.parametrize(
    "what", ["one picture", "no folder", "sizes", "baseline", "report", "inception", "pickle", "network"]
)
def test_what_cannot_be_asked_is_told_in_a_line(what: str, sets: tuple[Path, Path], tmp_path: Path) -> None:
    good = plain(sets[1], tmp_path / "good")
    real, synthetic, more = sets[0], good, []
    if what == "one picture":
        synthetic = tmp_path / "one"
        synthetic.mkdir()
        shutil.copy(next(good.glob("*.png")), synthetic)
        told = "a report needs two or more"
    elif what == "no folder":
        synthetic, told = tmp_path / "nowhere", "is no folder"
    elif what == "sizes":
        real, told = plain(sets[1], tmp_path / "small", 128), "several sizes"
    elif what == "baseline":
        (tmp_path / "b.json").write_text("{}")
        more, told = ["--baseline", tmp_path / "b.json"], "is no report.json"
    elif what == "report":
        (tmp_path / "report").mkdir()
        (tmp_path / "report" / "report.json").write_text("{}")
        told = "holds a report"
    elif what == "inception":
        more, told = ["--inception", tmp_path / "weights.pth"], "is no file of Inception weights"
    elif what == "pickle":
        (tmp_path / "weights.pth").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
        more, told = ["--inception", tmp_path / "weights.pth"], "not opened"
    else:
        (tmp_path / "resnet18.pth").write_bytes(b"x")
        more, told = ["--network", tmp_path / "resnet18.pth"], "safetensors"
    code, said = run(real, synthetic, "--out", tmp_path / "report", *more)
    assert code == 2, said
    line = said.strip().splitlines()[-1]
    assert told in line
    assert "Traceback" not in said
    assert not (tmp_path / "report" / "report.html").exists()
    assert not (tmp_path / "sprung").exists()


def test_pictures_without_contrast_are_left_out_with_the_reason(sets: tuple[Path, Path], tmp_path: Path) -> None:
    folder = plain(sets[1], tmp_path / "flat")
    Image.fromarray(np.full((160, 160), 9000, np.uint16)).save(folder / "flat.png")
    (folder / "broken.png").write_bytes(b"no picture")
    code, said = run(sets[0], folder, "--out", tmp_path / "report")
    assert code == 0, said
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    left = {row["picture"]: row["reason"] for row in found["left_out"]["synthetic"]}
    assert set(left) == {"flat", "broken"}
    assert all(left.values())


def test_another_network_adds_its_distances(sets: tuple[Path, Path], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    torch.manual_seed(0)
    state = {name: value.contiguous() for name, value in resnet18(weights=None).state_dict().items()}
    save_file(state, tmp_path / "resnet18-ours.safetensors")
    code, said = run(*sets, "--out", tmp_path / "report", "--network", tmp_path / "resnet18-ours.safetensors")
    assert code == 0, said
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["fidelity"]["frechet_resnet18-ours"]["value"] > 0


def test_inception_features_are_torch_fidelitys(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    torch.manual_seed(0)
    with monkeypatch.context() as patch:  # a network of theirs with weights by chance, as its own can't be downloaded
        patch.setattr(theirs, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
        network = theirs.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    backbone = open_inception(str(tmp_path / "inception.pth"))
    files = sorted((sets[0] / "test").glob("*.png"))[:2]
    pictures = [Picture(path.stem, path, facing=Laterality.L) for path in files]
    wanted = []
    for path in files:
        grey = torch.from_numpy(np.rint(read_picture(path) * 255).astype(np.uint8))
        wanted.append(network(grey[None, None].repeat(1, 3, 1, 1))[0][0].double().numpy())
    found = features_of(pictures, backbone)
    assert found.shape == (2, 2048)
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-6)

    def never(batch: Any) -> Any:
        raise AssertionError("what is kept is asked again")

    assert np.array_equal(features_of(pictures, Backbone("inception", never, None, backbone.key)), found)
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(MameError, match="are no Inception weights"):
        open_inception(str(tmp_path / "other.pth"))
