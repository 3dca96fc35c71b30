"""Killed, cut in batches, on many workers, on a cluster that loses a node: always the same cohort."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from diffusion.conftest import CARD
from diffusion.small_mini import small_parts

from mame.diffusion.folders import available_models
from mame.diffusion.model import save_model
from mame.formats.files import read
from mame.formats.manifest import read_manifest
from mame.synthesis.cohort.run import read_cohort, synthesize
from mame.synthesis.plan import Plan, read_plan

from .conftest import ANYTHING, MakePlan, contents
from .test_run import by_a_yolo_reader, by_highdicom, by_pandas, by_pycocotools

DOCUMENTED = """
count: 200
seed: 1
model: mini
vendor: {siemens: 0.5, hologic: 0.5}
view: {CC: 0.5, MLO: 0.5}
density: {A: 0.1, B: 0.4, C: 0.4, D: 0.1}
lesions: {share: 0.3, kinds: {mass: 1.0}, size_mm: [8, 25]}
outputs: [png, dicom, coco, yolo, vindr, seg]
"""
MANY = 16


def test_batches_make_the_same_pictures(cohort: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    other = synthesize(make_plan(batch=3, outputs=["png"]), tmp_path / "out", workers=1)
    for line in read_manifest(cohort):
        one, two = (read(folder / line["file"]).pixels for folder in (cohort, other))
        error = float(np.mean((one - two) ** 2))
        assert error == 0 or -10 * np.log10(error) >= 40


@pytest.fixture(scope="module")
def many_plan(tmp_path_factory: pytest.TempPathFactory, make_plan: MakePlan) -> Path:
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    path.write_text(make_plan(count=MANY, outputs=["png", "dicom", "coco", "yolo"]).to_yaml())
    return path


@pytest.fixture(scope="module")
def uninterrupted(many_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(synthesize(many_plan, tmp_path_factory.mktemp("whole") / "out", workers=1))


def finished(out: Path) -> dict[Path, int]:
    """The files of images that the journal calls done, with when each was written."""
    journal = out / ".unfinished" / "journal.jsonl"
    done = [json.loads(line)["line"] for line in journal.read_bytes().split(b"\n")[:-1]]
    return {out / file: (out / file).stat().st_mtime_ns for line in done for file in line["files"]}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle(many_plan: Path, uninterrupted: dict[str, bytes], tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "mame.cli", "synthesize", str(many_plan), str(out), "--workers", str(workers)]
    journal, before = out / ".unfinished" / "journal.jsonl", dict[Path, int]()
    for aim in (3, 8, 12):
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= aim):
            assert running.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        time.sleep(2)  # its workers end with it
        now = finished(out)
        assert before.items() <= now.items(), "something that was finished was made again"
        before = now
    (out / "images" / ".mam-e-0123.part").touch()  # as a worker leaves it that was killed while it wrote
    subprocess.run(command, check=True)
    assert contents(out) == uninterrupted
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_two_workers_make_the_same_cohort(many_plan: Path, uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    assert contents(synthesize(many_plan, tmp_path / "out", workers=2)) == uninterrupted


@pytest.mark.slow
def test_ray_of_two_nodes_one_of_which_is_killed(
    many_plan: Path, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    killed: list[float] = []
    try:
        cluster.wait_for_nodes()

        def kill(done: int, total: int) -> None:
            if done >= 4 and not killed:
                killed.append(ray.cluster_resources()["CPU"])
                cluster.remove_node(second, allow_graceful=False)

        out = synthesize(many_plan, tmp_path / "out", ray=cluster.address, progress=kill)
    finally:
        cluster.shutdown()
    assert killed == [2.0]
    assert contents(out) == uninterrupted


# -- the plan of two hundred ------------------------------------------------------------------------------------------


def check_counts(folder: Path, plan: Plan) -> None:
    """What the plan says, to the image, and the boxes alike in every format."""
    lines = read_manifest(folder)
    count = plan.count
    assert len(lines) == count == read_cohort(folder)["made"]
    for word, shares in (("vendor", plan.vendor), ("view", plan.view), ("density", plan.density)):
        assert shares is not None
        wanted = {key: round(share * count) for key, share in shares.items()}
        assert Counter(line["description"][word] for line in lines) == wanted
    sizes = [max(x1 - x0, y1 - y0) * line["spacing_mm"] for line in lines for x0, y0, x1, y1 in boxes(line)]
    assert len(sizes) == sum(bool(line["lesions"]) for line in lines) == round(plan.lesions.share * count)
    assert min(sizes) >= 8 - lines[0]["spacing_mm"]
    assert max(sizes) <= 25 + lines[0]["spacing_mm"]
    told = {Path(line["file"]).stem: boxes(line) for line in lines}
    for reader in (by_pycocotools, by_a_yolo_reader, by_pandas, by_highdicom):
        found = reader(folder)
        assert found.keys() == told.keys()
        for name, wanted_boxes in told.items():
            np.testing.assert_allclose(np.array(found[name]), np.array(wanted_boxes), atol=0.5)


def boxes(line: dict[str, object]) -> list[list[float]]:
    return [lesion["box"] for lesion in line["lesions"]]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_plan_of_two_hundred_with_small_models(tmp_path: Path) -> None:
    # of 64 pixels each: 8 mm are enough of them to paint into where the field is small
    card = CARD.model_copy(update={"vendors": ("siemens", "hologic"), "field_mm": 96.0})
    companion = card.model_copy(update={"companion": str(tmp_path / "lesion")})
    save_model(small_parts(False), tmp_path / "healthy", companion)
    save_model(small_parts(True), tmp_path / "lesion", card)
    (tmp_path / "plan.yaml").write_text(DOCUMENTED)
    changes = {"model": str(tmp_path / "healthy"), "steps": 1, "accept": ANYTHING | {"side": False}}
    said = read_plan(tmp_path / "plan.yaml").model_dump() | changes
    plan = Plan(**said | {"lesions": said["lesions"] | {"steps": 1}})
    check_counts(synthesize(plan, tmp_path / "out", workers=2), plan)


@pytest.mark.slow
@pytest.mark.skipif(not available_models(), reason="the embedded models are not in this checkout")
def test_the_plan_as_it_stands_with_mini(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(DOCUMENTED.replace("count: 200", "count: 10"))
    plan = read_plan(tmp_path / "plan.yaml")
    out = synthesize(plan, tmp_path / "out")
    check_counts(out, plan)
    for line in read_manifest(out):  # measured, and taken
        assert line["measured"]["view"] == line["description"]["view"]
        off = "ABCD".index(line["measured"]["density"]) - "ABCD".index(line["description"]["density"])
        assert abs(off) <= 1
        for lesion in line["lesions"]:
            assert lesion["box_measured"] is not None
