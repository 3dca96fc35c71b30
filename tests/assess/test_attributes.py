"""The attribute reader: it learns, what it says of phantoms it never saw, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mame.assess.attributes.learn import changed, known_of, loss_of
from mame.assess.attributes.network import CLASSES, EMBEDDING, AttributeNetwork
from mame.assess.attributes.reader import CARD, EMBEDDED, WEIGHTS, open_reader
from mame.assess.attributes.weights import packed, unpacked
from mame.cli import app
from mame.dataset.regions import Regions
from mame.dataset.simulated import PhantomMarked, PhantomViews
from mame.errors import MameError
from mame.mammogram import Density

MOST_BYTES = 4_000_000


def test_the_reader_in_the_package_is_small_and_says_how_well_it_reads() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) <= MOST_BYTES
    card = json.loads((EMBEDDED / CARD).read_text())
    assert set(card["measured"]["real"]) >= {"view", "density", "area"}
    for figure in card["measured"]["real"].values():
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert (EMBEDDED / "README.md").is_file()


def test_it_reads_phantoms_that_it_never_saw() -> None:
    reader = open_reader()
    views = [PhantomViews("x", 40, 987, 512)[i] for i in range(40)]
    read = reader.read(reader.embed([one.pixels for one in views]))
    assert read.embedding.shape == (40, EMBEDDING)
    wanted = [known_of(one) for one in views]
    right = {name: np.mean([read.classes[name][i] == one[name] for i, one in enumerate(wanted)]) for name in wanted[0]}
    assert right["view"] >= 0.95
    assert right["vendor"] >= 0.95
    assert right["density"] >= 0.7
    assert right["area"] >= 0.8
    mirrored = reader.read(reader.embed([np.ascontiguousarray(one.pixels[:, ::-1]) for one in views]))
    assert (read.classes["side"] == CLASSES["side"].index("L")).mean() >= 0.95
    assert (mirrored.classes["side"] == CLASSES["side"].index("R")).mean() >= 0.95


def test_the_trainer_learns_and_leaves_a_reader(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "attributes", "phantom:6:3", str(tmp_path / "run"), "--steps", "2"])
    assert result.exit_code == 0, result.output
    folder = Path(result.output.splitlines()[-1])
    reader = open_reader(folder)
    assert reader.card["training"]["pictures"] == 12  # healthy ones, and ones with a lesion
    assert reader.key != open_reader().key
    again = CliRunner().invoke(app, ["train", "attributes", "phantom:6:3", str(tmp_path / "run"), "--steps", "2"])
    assert again.exit_code == 2
    assert "is there already" in again.output
    other = CliRunner().invoke(app, ["train", "attributes", "phantom:6:3", str(tmp_path / "x"), "--base", "mini"])
    assert other.exit_code == 2
    assert "--base is not for attributes" in other.output


def test_packed_weights_are_a_quarter_and_answer_the_same() -> None:
    torch.manual_seed(0)
    network = AttributeNetwork().eval()
    state = network.state_dict()
    small = packed(state)
    assert sum(value.nbytes for value in small.values()) < 0.27 * sum(value.nbytes for value in state.values())
    again = AttributeNetwork().eval()
    again.load_state_dict(unpacked(small))
    pictures = torch.rand(2, 1, 256, 256)
    one, other = network.embedding(pictures), again.embedding(pictures)
    assert (one - other).norm() < 0.02 * one.norm()
    assert not torch.equal(one, other)
    assert torch.equal(unpacked(state)["embed.weight"], state["embed.weight"])  # plain floats are read as they are


def test_a_file_that_is_no_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MameError, match="is no attribute reader"):
        open_reader(tmp_path)
    (tmp_path / WEIGHTS).write_bytes((EMBEDDED / WEIGHTS).read_bytes())
    (tmp_path / CARD).write_text(json.dumps({"classes": {"view": ["CC"]}}))
    with pytest.raises(MameError, match="reads other classes"):
        open_reader(tmp_path)


def test_unknown_labels_teach_nothing() -> None:
    network = AttributeNetwork().eval()
    answers = network(torch.rand(3, 1, 256, 256))
    nothing = {name: torch.full((3,), -1) for name in CLASSES}
    known = nothing | {"density": torch.tensor([2, -1, -1])}
    loss = loss_of(answers, known)
    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(answers["density"][:1], torch.tensor([2]), label_smoothing=0.02).item()
    )


def test_what_is_known_of_an_example_includes_its_lesion() -> None:
    marked = PhantomMarked("x", 2, 5, 96, Regions.MIXED)[0]
    healthy = PhantomViews("x", 2, 5, 96)[0]
    assert known_of(marked)["lesion"] == CLASSES["lesion"].index("yes")
    assert known_of(healthy)["lesion"] == CLASSES["lesion"].index("no")
    assert healthy.description.density is not None
    assert known_of(healthy)["density"] == list(Density).index(healthy.description.density)


def test_a_mirrored_picture_is_called_so() -> None:
    pictures = torch.zeros(64, 32, 32)
    pictures[:, :, :8] = 1.0  # the chest wall at the left
    seen, mirrored = changed(pictures, np.random.default_rng(0))
    right = seen[:, 0, :, 16:].mean(dim=(1, 2)) > seen[:, 0, :, :16].mean(dim=(1, 2))
    assert torch.equal(right, mirrored == 1)
    assert 0 < int(mirrored.sum()) < 64
