"""The CAD study: every arm trained with every seed, tested on the same patients, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mame.assess.cad import networks
from mame.assess.cad.arms import REAL, Arm, Sampler, arms_of
from mame.assess.cad.compare import score_classifier, score_detector
from mame.assess.cad.guard import check_apart
from mame.assess.cad.plan import MODELS, PANELS, PLAN, RESULT, RUNS, Job, Material, Plan, Result
from mame.assess.cad.scenes import Patches, Scene, patches_of, phantom_scenes, scenes_of, too_wide, unmarked
from mame.dataset.layout import METADATA, Split
from mame.dataset.read import open_set
from mame.errors import MameError
from mame.formats.atomic import atomic_write

START = "detector-start.safetensors"
PHANTOM_SEED = 90210
FEW = 20  # patients or lesions to test on, below which intervals are not to be trusted
TRIED = 4  # steps from which the time is foretold
Say = Callable[[str], None]


def cad(
    dataset: Path, cohort: Path, out: Path, plan: Plan | None = None, say: Say = print, force: bool = False
) -> Result:
    """Runs a study, or goes on with one, and writes OUT/cad.json.

    dataset: a prepared set of real mammograms with lesions and a test side; cohort: another, synthetic. Raises
    MameError where the test side lacks a class, a set has no lesion box, the cohort's generator saw test patients, or
    `out` holds a study with another plan.
    """
    plan = plan or Plan()
    notes = [*check_apart(dataset, cohort), *_left_out(plan.largest_mm, dataset, cohort)]
    material = _material(dataset, cohort, plan)
    _open(out, plan, dataset, cohort, force)
    jobs = _jobs(plan)
    counts = _counts(material)
    say(_told(plan, jobs, counts))
    _estimate(material, plan, jobs, out, say)
    start = _start(out, plan, say)
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
    score_classifier(result, material, plan, runs)
    score_detector(result, material, plan, runs)
    from mame.assess.explain import explain

    result.explain = explain(out / MODELS, material.test_patches, material.made_patches, out / PANELS)
    _write(out / RESULT, asdict(result))
    return result


# -- before -----------------------------------------------------------------------------------------------------------


def _material(dataset: Path, cohort: Path, plan: Plan) -> Material:
    real, made = open_set(dataset), open_set(cohort)
    learned = [split for split in real.splits if split is not Split.TEST]
    parts = [
        scenes_of(found, splits, plan.largest_mm)
        for found, splits in ((real, learned), (made, made.splits), (real, [Split.TEST]))
    ]
    for scenes, what in zip(parts, (f"{dataset}, training side", str(cohort), f"{dataset}, test side"), strict=True):
        if not any(scene.boxes for scene in scenes):
            raise MameError(f"{what}: has no lesion with a box of up to {plan.largest_mm:g} mm; a CAD study needs some")
    patches = [patches_of(scenes, plan.seed + number) for number, scenes in enumerate(parts)]
    for one, what in zip(patches, ("training side", "cohort", "test side"), strict=True):
        if one.lesion.all():
            raise MameError(f"the {what} has lesions and no room for a patch of tissue without one")
    return Material(parts[0], parts[1], parts[2], patches[0], patches[1], patches[2])


def _left_out(largest_mm: float, *folders: Path) -> list[str]:
    """What is said of pictures whose lesions nobody marked, or not closely."""
    notes = []
    for folder in folders:
        found = open_set(folder)
        rows = [row for split in found.splits for row in found.iterate(split)]
        if count := sum(unmarked(row) for row in rows):
            notes.append(f"{folder}: {count} of its pictures show a lesion that has no box; they are left out")
        if count := sum(too_wide(row, largest_mm) for row in rows):
            notes.append(f"{folder}: {count} of its pictures have a mark longer than {largest_mm:g} mm; left out")
    return notes


def _counts(material: Material) -> dict[str, Any]:
    def of(scenes: Sequence[Scene]) -> dict[str, int]:
        return {
            "pictures": len(scenes), "patients": len({scene.patient for scene in scenes}),
            "lesions": sum(len(scene.boxes) for scene in scenes),
        }  # fmt: skip

    return {"real": of(material.real), "synthetic": of(material.made), "test": of(material.test)}


def _open(out: Path, plan: Plan, dataset: Path, cohort: Path, force: bool) -> None:
    sets = {
        "dataset": str(dataset), "cohort": str(cohort), "rows of dataset": _digest(dataset),
        "rows of cohort": _digest(cohort),
    }  # fmt: skip
    said = json.loads(json.dumps({"plan": asdict(plan), **sets}))
    for folder in (out, out / RUNS, out / MODELS):
        folder.mkdir(parents=True, exist_ok=True)
    place = out / PLAN
    if place.is_file():
        old = json.loads(place.read_text())
        flat = [{**one.get("plan", {}), **{key: one.get(key) for key in sets}} for one in (old, said)]
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


def _digest(folder: Path) -> str:
    """Of what a set's rows say, the pictures' own digests included: a set that was made anew has another."""
    found = open_set(folder)
    told = hashlib.sha256()
    for split in found.splits:
        told.update((folder / split / METADATA).read_bytes())
    return told.hexdigest()[:12]


def _jobs(plan: Plan) -> list[Job]:
    arms = arms_of(plan.ratios)
    jobs = [Job("classifier", arm, seed) for arm in arms for seed in range(plan.seeds)]
    jobs += [
        Job("classifier", arm, seed, share)
        for share in plan.shares
        for arm in plan.explained
        for seed in range(plan.seeds)
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
    place = out / MODELS / START
    if not place.is_file():
        say(f"the detector learns from {plan.phantoms} phantoms first")
        scenes = phantom_scenes(plan.phantoms, PHANTOM_SEED, plan.size)
        draw = _lesions_half_the_time(scenes, plan.start_steps, plan.seed)
        networks.save_weights(
            networks.train_detector(scenes, draw, plan.start_steps, plan.seed, plan.size, None), place
        )
    return networks.load_weights(place)


def _estimate(material: Material, plan: Plan, jobs: Sequence[Job], out: Path, say: Say) -> None:
    """Says how long what is left will take, from a few steps of each; before anything is trained."""
    times: dict[str, list[float]] = {"classifier": [], "detector": []}

    def tell(task: str, _step: int) -> None:
        times[task].append(time.monotonic())

    every = Sampler(Arm(REAL, (0.0, 0.0)), material.real_patches.lesion, np.zeros(0, dtype=bool), TRIED, 0)
    networks.train_classifier(material.real_patches, every, TRIED, 0, partial(tell, "classifier"))
    draw = _lesions_half_the_time(material.real, TRIED, 0)
    model = networks.train_detector(material.real, draw, TRIED, 0, plan.size, None, partial(tell, "detector"))
    began = time.monotonic()
    networks.detect(model, material.test[:TRIED])
    look = (time.monotonic() - began) / len(material.test[:TRIED]) * len(material.test)
    small, large = ((at[-1] - at[0]) / (TRIED - 1) for at in times.values())  # without the first step, which is slower
    cost = {"classifier": small * plan.steps, "detector": large * plan.detector_steps + look}
    seconds = sum(cost[job.task] for job in jobs if not (out / RUNS / f"{job.name}.json").is_file())
    if not (out / MODELS / START).is_file():
        seconds += large * plan.start_steps
    say(f"about {max(seconds / 60, 1):.0f} minutes")


def _lesions_half_the_time(scenes: Sequence[Scene], steps: int, seed: int) -> Sampler:
    truth = np.array([bool(scene.boxes) for scene in scenes])
    return Sampler(Arm(REAL, (0.0, 0.0)), truth, np.zeros(0, dtype=bool), steps, seed)


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
        if job.seed == 0 and job.share == 1.0 and job.arm in plan.explained:
            networks.save_weights(model, out / MODELS / f"{job.name}.safetensors")
        return {"scores": networks.classify(model, material.test_patches).tolist()}
    scenes = [*material.real, *material.made]
    truths = [np.array([bool(scene.boxes) for scene in part]) for part in (material.real, material.made)]
    draw = Sampler(job.arm, truths[0], truths[1], plan.detector_steps, job.seed)
    found = networks.detect(
        networks.train_detector(scenes, draw, plan.detector_steps, job.seed, plan.size, start), material.test
    )
    return {"detections": [{"boxes": boxes.tolist(), "scores": sure.tolist()} for boxes, sure in found]}


def _share(patches: Patches, job: Job, plan: Plan) -> Patches:
    """The patches of a share of the patients; the same patients for every arm of a seed, fewer within more."""
    patients = sorted(set(patches.patient))
    order = np.random.default_rng([plan.seed, 59, job.seed]).permutation(len(patients))
    kept = {patients[i] for i in order[: max(round(job.share * len(patients)), 1)]}
    return patches.only(np.flatnonzero([patient in kept for patient in patches.patient]))


def _write(place: Path, said: Any) -> None:
    with atomic_write(place, force=True) as file:
        file.write((json.dumps(said, indent=1) + "\n").encode())
