"""Cohorts in tar files: the same bytes as single files, whole or absent, and gone on with."""

from __future__ import annotations

import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mame.formats.manifest import read_manifest
from mame.synthesis.cohort.run import read_cohort, synthesize

from .conftest import MakePlan, contents
from .test_run import StopError, stop_after


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, make_plan: MakePlan) -> Path:
    return synthesize(make_plan(), tmp_path_factory.mktemp("sharded") / "out", workers=1, shards=3)


def samples(folder: Path) -> dict[str, dict[str, bytes]]:
    """As WebDataset reads: what comes before the first dot is the sample, what comes after is which part of it."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for path in sorted((folder / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, part = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found[key][part] = file.read()
    return dict(found)


def test_shards_hold_the_same_bytes_as_single_files(sharded: Path, cohort: Path) -> None:
    assert [path.name for path in sorted((sharded / "shards").iterdir())] == [
        "cohort-000000.tar", "cohort-000001.tar", "cohort-000002.tar",
    ]  # fmt: skip
    found, loose = samples(sharded), contents(cohort)
    assert len(found) == 8
    for line in read_manifest(cohort):
        parts = found[line["order"]["index"].__format__("04d")]
        assert parts["png"] == loose[line["files"][0]]
        assert parts["dcm"] == loose[line["files"][1]]
        assert parts["yolo.txt"] == loose[line["labels"]["yolo"]]
        assert ("seg.dcm" in parts) == ("sr.dcm" in parts) == ("mask.png" in parts) == bool(line["lesions"])
        if line["lesions"]:
            assert parts["seg.dcm"] == loose[line["labels"]["seg"]]
            assert parts["mask.png"] == loose[line["mask_file"]]
        assert json.loads(parts["json"])["prompt"] == line["prompt"]
        assert np.asarray(Image.open(io.BytesIO(parts["png"]))).dtype == np.uint16
    assert (sharded / "labels" / "coco.json").read_bytes() == loose["labels/coco.json"]
    assert (sharded / "labels" / "finding_annotations.csv").read_bytes() == loose["labels/finding_annotations.csv"]


def test_nothing_else_is_left(sharded: Path) -> None:
    assert {path.name for path in sharded.iterdir()} == {
        "shards", "labels", "manifest.jsonl", "plan.yaml", "cohort.json", "failures.csv",
    }  # fmt: skip
    assert read_cohort(sharded)["made"] == 8
    assert {line["shard"] for line in read_manifest(sharded)} == {f"shards/cohort-00000{n}.tar" for n in range(3)}


@pytest.mark.parametrize("images", [2, 3, 7])
def test_a_stopped_run_goes_on_to_the_same_shards(
    sharded: Path, tmp_path: Path, make_plan: MakePlan, images: int
) -> None:
    out = tmp_path / "out"
    with pytest.raises(StopError):
        synthesize(make_plan(), out, workers=1, shards=3, progress=stop_after(images))
    done = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    assert len(done) == images // 3
    synthesize(make_plan(), out, workers=1, shards=3)
    assert contents(out) == contents(sharded)
    assert {path: path.stat().st_mtime_ns for path in done} == done
