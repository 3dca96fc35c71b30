"""The CAD study: every arm trained with every seed, tested on the same patients, and what comes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.assess.cad import networks, scores
from mame.assess.cad.arms import REAL, Arm, Sampler, arms_of
from mame.assess.cad.guard import check_apart
from mame.assess.cad.scenes import Patches, Scene, patches_of, phantom_scenes, scenes_of
from mame.dataset.layout import Split
from mame.dataset.read import open_set
from mame.errors import MameError
from mame.formats.atomic import atomic_write

PLAN, RESULT, RUNS, MODELS, PANELS = "plan.json", "cad.json", "runs", "models", "panels"
PHANTOM_SEED = 90210
FEW = 20
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How large a study is. steps: of each training; shares: of real patients, for the learning curve.

    phantoms, start_steps: of the detector's pre-training; size: of the detector's pictures; least_map: of the real
    arm, below which a comparison of detectors says nothing.
    """

    seeds: int = 3
    ratios: tuple[float, ...] = (0.5, 1.0)
    steps: int = 120
    shares: tuple[float, ...] = (0.25, 0.5)
    detector_seeds: int = 2
    detector_steps: int = 80
    phantoms: int = 150
    start_steps: int = 250
    size: int = 320
    least_map: float = 0.2
    seed: int = 0


QUICK = Plan(
    seeds=1, ratios=(1.0,), steps=30, shares=(), detector_seeds=1, detector_steps=10, phantoms=24, start_steps=30,
    size=256,
)  # fmt: skip


@dataclass
class Result:
    """What `cad.json` holds."""

    plan: dict[str, Any]
    counts: dict[str, Any]
    classifier: list[dict[str, Any]] = field(default_factory=list)
    detector: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    explain: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """Pictures and patches of the three parts of a study."""

    real: list[Scene]
    made: list[Scene]
    test: list[Scene]
    real_patches: Patches
    made_patches: Patches
    test_patches: Patches


@dataclass(frozen=True)
class Job:
    """One training: of a `classifier` or a `detector`, an arm, a seed, and the share of the real patients."""

    task: str
    arm: Arm
    seed: int
    share: float = 1.0

    @property
    def name(self) -> str:
        """A file's name."""
        arm = self.arm.name.replace(" ", "-").replace(",", "")
        return f"{self.task}-{arm}-{self.share:g}-{self.seed}"


def cad(
    dataset: Path, cohort: Path, out: Path, plan: Plan | None = None, say: Say = print, force: bool = False
) -> Result:
    """Runs a study, or goes on with one, and writes OUT/cad.json.

    dataset: a prepared set of real mammograms with lesions and a test side; cohort: another, synthetic. Raises
    MameError where the test side lacks a class, a set has no lesion box, the cohort's generator saw test patients, or
    `out` holds a study with another plan.
    """
    plan = plan or Plan()
    notes = check_apart(dataset, cohort)
    material = _material(dataset, cohort, plan)
    _open(out, plan, dataset, cohort, force)
    jobs = _jobs(plan)
    counts = _counts(material)
    say(_told(plan, jobs, counts))
    start = _start(out, plan, say)
    _estimate(material, plan, jobs, start, say)
    began = time.monotonic()
    for number, job in enumerate(jobs, start=1):
        place = out / RUNS / f"{job.name}.json"
        if place.is_file():
            continue
        _write(place, _run(job, material, plan, start, out))
        say(f"{number} of {len(jobs)}: {job.name}, {time.monotonic() - began:.0f} s")
    if counts["test"]["lesions"] < FEW or counts["test"]["patients"] < FEW:
        notes.append(f"fewer than {FEW} patients or lesions to test on: intervals and p values are not to be trusted")
    result = Result(asdict(plan), counts, notes=notes)
    runs = {job: json.loads((out / RUNS / f"{job.name}.json").read_text()) for job in jobs}
    _score_classifier(result, material, plan, runs)
    _score_detector(result, material, plan, runs)
    from mame.assess.explain import explain

    result.explain = explain(out / MODELS, material.test_patches, material.made_patches, out / PANELS)
    _write(out / RESULT, asdict(result))
    return result


# -- before -----------------------------------------------------------------------------------------------------------


def _material(dataset: Path, cohort: Path, plan: Plan) -> Material:
    real, made = open_set(dataset), open_set(cohort)
    learned = [split for split in real.splits if split is not Split.TEST]
    parts = [scenes_of(real, learned), scenes_of(made, made.splits), scenes_of(real, [Split.TEST])]
    for scenes, what in zip(parts, (f"{dataset}, training side", str(cohort), f"{dataset}, test side"), strict=True):
        if not any(scene.boxes for scene in scenes):
            raise MameError(f"{what}: has no lesion with a box; a CAD study needs some")
    patches = [patches_of(scenes, plan.seed + number) for number, scenes in enumerate(parts)]
    for one, what in zip(patches, ("training side", "cohort", "test side"), strict=True):
        if one.lesion.all():
            raise MameError(f"the {what} has lesions and no room for a patch of tissue without one")
    return Material(parts[0], parts[1], parts[2], patches[0], patches[1], patches[2])


def _counts(material: Material) -> dict[str, Any]:
    def of(scenes: Sequence[Scene]) -> dict[str, int]:
        return {
            "pictures": len(scenes), "patients": len({scene.patient for scene in scenes}),
            "lesions": sum(len(scene.boxes) for scene in scenes),
        }  # fmt: skip

    return {"real": of(material.real), "synthetic": of(material.made), "test": of(material.test)}


def _open(out: Path, plan: Plan, dataset: Path, cohort: Path, force: bool) -> None:
    said = json.loads(json.dumps({"plan": asdict(plan), "dataset": str(dataset), "cohort": str(cohort)}))
    for folder in (out, out / RUNS, out / MODELS):
        folder.mkdir(parents=True, exist_ok=True)
    place = out / PLAN
    if place.is_file():
        old = json.loads(place.read_text())
        flat = [
            {**one.get("plan", {}), "dataset": one.get("dataset"), "cohort": one.get("cohort")} for one in (old, said)
        ]
        other = [
            f"{key} {flat[0].get(key)} there, {flat[1][key]} here"
            for key in flat[1]
            if flat[0].get(key) != flat[1][key]
        ]
        if other and not force:
            raise MameError(f"{out}: holds another study ({'; '.join(other)}); --force starts anew")
        if other:
            for path in [*(out / RUNS).iterdir(), *(out / MODELS).iterdir()]:
                path.unlink()
    _write(place, said)


def _jobs(plan: Plan) -> list[Job]:
    arms = arms_of(plan.ratios)
    jobs = [Job("classifier", arm, seed) for arm in arms for seed in range(plan.seeds)]
    compared = [arm for arm in arms if arm.name == REAL] + [Arm.mixed(max(plan.ratios))] * bool(plan.ratios)
    jobs += [
        Job("classifier", arm, seed, share) for share in plan.shares for arm in compared for seed in range(plan.seeds)
    ]
    return jobs + [Job("detector", arm, seed) for arm in arms for seed in range(plan.detector_seeds)]


def _told(plan: Plan, jobs: Sequence[Job], counts: dict[str, Any]) -> str:
    parts = [
        f"{name}: {of['pictures']} pictures, {of['patients']} patients, {of['lesions']} lesions"
        for name, of in counts.items()
    ]
    small = sum(job.task == "classifier" for job in jobs)
    large = len(jobs) - small
    parts.append(f"{small} classifiers of {plan.steps} steps, {large} detectors of {plan.detector_steps} steps")
    return "\n".join(parts)


def _start(out: Path, plan: Plan, say: Say) -> dict[str, Any]:
    """The detector's first weights: from phantoms, made once."""
    place = out / MODELS / "detector-start.safetensors"
    if not place.is_file():
        say(f"the detector learns from {plan.phantoms} phantoms first")
        scenes = phantom_scenes(plan.phantoms, PHANTOM_SEED, plan.size)
        truth = np.array([bool(scene.boxes) for scene in scenes])
        draw = Sampler(Arm(REAL, (0.0, 0.0)), truth, np.zeros(0, dtype=bool), plan.start_steps, plan.seed)
        networks.save_weights(
            networks.train_detector(scenes, draw, plan.start_steps, plan.seed, plan.size, None), place
        )
    return networks.load_weights(place)


def _estimate(material: Material, plan: Plan, jobs: Sequence[Job], start: dict[str, Any], say: Say) -> None:
    """Says how long it will take, from a few steps of each."""
    few = 3
    every = Sampler(Arm(REAL, (0.0, 0.0)), material.real_patches.lesion, np.zeros(0, dtype=bool), few, 0)
    began = time.monotonic()
    networks.train_classifier(material.real_patches, every, few, 0)
    small = (time.monotonic() - began) / few
    truth = np.array([bool(scene.boxes) for scene in material.real])
    draw = Sampler(Arm(REAL, (0.0, 0.0)), truth, np.zeros(0, dtype=bool), few, 0)
    began = time.monotonic()
    networks.train_detector(material.real, draw, few, 0, plan.size, start)
    large = (time.monotonic() - began) / few
    seconds = sum(small * plan.steps if job.task == "classifier" else large * plan.detector_steps for job in jobs)
    say(f"about {seconds / 60:.0f} minutes")


# -- training ---------------------------------------------------------------------------------------------------------


def _run(job: Job, material: Material, plan: Plan, start: dict[str, Any], out: Path) -> dict[str, Any]:
    if job.task == "classifier":
        real, made = _share(material.real_patches, job, plan), material.made_patches
        both = Patches(
            np.concatenate([real.pixels, made.pixels]), np.concatenate([real.lesion, made.lesion]),
            [*real.patient, *made.patient], [*real.boxes, *made.boxes],
        )  # fmt: skip
        draw = Sampler(job.arm, real.lesion, made.lesion, plan.steps, job.seed)
        model = networks.train_classifier(both, draw, plan.steps, job.seed)
        if job.seed == 0 and job.share == 1.0 and job.arm in _explained(plan):
            networks.save_weights(model, out / MODELS / f"{job.name}.safetensors")
        return {"scores": networks.classify(model, material.test_patches).tolist()}
    scenes = [*material.real, *material.made]
    truths = [np.array([bool(scene.boxes) for scene in part]) for part in (material.real, material.made)]
    draw = Sampler(job.arm, truths[0], truths[1], plan.detector_steps, job.seed)
    found = networks.detect(
        networks.train_detector(scenes, draw, plan.detector_steps, job.seed, plan.size, start), material.test
    )
    return {"detections": [{"boxes": boxes.tolist(), "scores": sure.tolist()} for boxes, sure in found]}


def _explained(plan: Plan) -> tuple[Arm, ...]:
    """The arms whose classifiers are kept, to be asked where they look."""
    return (arms_of(plan.ratios)[0], Arm.mixed(max(plan.ratios)))


def _share(patches: Patches, job: Job, plan: Plan) -> Patches:
    """The patches of a share of the patients; the same patients for every arm of a seed, fewer within more."""
    patients = sorted(set(patches.patient))
    order = np.random.default_rng([plan.seed, 59, job.seed]).permutation(len(patients))
    kept = {patients[i] for i in order[: max(round(job.share * len(patients)), 1)]}
    return patches.only(np.flatnonzero([patient in kept for patient in patches.patient]))


# -- after ------------------------------------------------------------------------------------------------------------


def _score_classifier(result: Result, material: Material, plan: Plan, runs: dict[Job, Any]) -> None:
    truth, patients = material.test_patches.lesion, material.test_patches.patient

    def measure(sure: NDArray[np.float64], seed: int, items: NDArray[np.intp]) -> float:
        return scores.auroc(truth[items], sure[seed, items])

    by_arm = {
        arm.name: partial(measure, _stack(runs, "classifier", arm, 1.0)) for arm in arms_of(plan.ratios)
    }  # fmt: skip
    result.classifier = _compared(by_arm, plan.seeds, patients, "auroc")
    for share in (*plan.shares, 1.0) if plan.shares else ():
        for arm in _explained(plan):
            found = scores.interval(partial(measure, _stack(runs, "classifier", arm, share)), plan.seeds, patients)
            result.curve.append({"share": share, "arm": arm.name, **asdict(found)})


def _score_detector(result: Result, material: Material, plan: Plan, runs: dict[Job, Any]) -> None:
    patients = [scene.patient for scene in material.test]
    found: dict[str, list[list[scores.Found]]] = {}
    for job, run in runs.items():
        if job.task == "detector":
            found.setdefault(job.arm.name, []).append([
                scores.matched(np.array(one["boxes"]).reshape(-1, 4), np.array(one["scores"]), scene.boxes)
                for one, scene in zip(run["detections"], material.test, strict=True)
            ])  # fmt: skip

    def measure(every: list[list[scores.Found]], seed: int, items: NDArray[np.intp]) -> float:
        return scores.average_precision([every[seed][i] for i in items])

    result.detector = _compared(
        {name: partial(measure, every) for name, every in found.items()}, plan.detector_seeds, patients, "map50"
    )
    for line in result.detector:
        line["froc"] = float(np.mean([scores.froc(one)[2] for one in found[line["arm"]]]))
        line["froc_curve"] = scores.froc(found[line["arm"]][0])[:2]
        if not any(len(picture.scores) for one in found[line["arm"]] for picture in one):
            result.notes.append(f"detector, {line['arm']}: found nothing in any picture")
    reached = result.detector[0]["map50"]
    if not reached >= plan.least_map:
        result.notes.append(
            f"the detector of the real arm reaches an mAP50 of {reached:.2f}, below {plan.least_map:g}: "
            "the comparison of detectors has no power"
        )


def _stack(runs: dict[Job, Any], task: str, arm: Arm, share: float) -> NDArray[np.float64]:
    return np.array(
        [run["scores"] for job, run in runs.items() if (job.task, job.arm, job.share) == (task, arm, share)]
    )


def _compared(
    measures: Mapping[str, Callable[[int, NDArray[np.intp]], float]], seeds: int, patients: Sequence[str], name: str
) -> list[dict[str, Any]]:
    """A line an arm: its figure, and its difference from the first arm, tested with the same draws of patients."""
    (first, *others) = measures
    drawn = {arm: scores.resampled(measure, seeds, patients) for arm, measure in measures.items()}
    everyone = np.arange(len(patients))
    lines: list[dict[str, Any]] = []
    for arm, measure in measures.items():
        value = float(np.mean([measure(seed, everyone) for seed in range(seeds)]))
        low, high = np.nanquantile(drawn[arm], [0.025, 0.975])
        lines.append({"arm": arm, name: value, "low": float(low), "high": float(high)})
    p = [scores.p_value(drawn[arm] - drawn[first]) for arm in others]
    for line, raw, corrected in zip(lines[1:], p, scores.holm(p), strict=True):
        gap = drawn[line["arm"]] - drawn[first]
        low, high = np.nanquantile(gap, [0.025, 0.975])
        line |= {
            "difference": line[name] - lines[0][name], "difference_low": float(low), "difference_high": float(high),
            "p": raw, "p_holm": corrected,
        }  # fmt: skip
    return lines


def _write(place: Path, said: Any) -> None:
    with atomic_write(place, force=True) as file:
        file.write((json.dumps(said, indent=1) + "\n").encode())
