"""From answers to a result: curves, intervals, comparison of modalities, equivalence, agreement, times."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mame.assess.readers.agreement import MAX_GRADES, weighted_kappa
from mame.assess.readers.answers import Answers, read_answers
from mame.assess.readers.multireader import average, compare
from mame.assess.readers.roc import Areas, Estimate, delong, equivalence
from mame.assess.readers.store import AnswerStore
from mame.errors import MameError

TOLD_APART = 12


@dataclass
class Analysis:
    """What `analysis.json` holds; `notes` says what could not be done, and why."""

    cases: int
    positives: int
    readers: list[dict[str, Any]] = field(default_factory=list)
    modalities: list[dict[str, Any]] = field(default_factory=list)
    comparison: dict[str, Any] | None = None
    agreement_between: list[dict[str, Any]] = field(default_factory=list)
    agreement_within: list[dict[str, Any]] = field(default_factory=list)
    times: list[dict[str, Any]] = field(default_factory=list)
    told_apart: list[dict[str, Any]] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def analyse(answers: Answers, margin: float | None = None, alpha: float = 0.05, asked: int | None = None) -> Analysis:
    """Analyse a study. margin: of equivalence with guessing (0.5), fixed before the study was read; None: not asked.

    asked: how many answers a complete study has. What can't be computed is left out and said in `notes`. Raises
    MameError where not even one reader's area can be.
    """
    found = Analysis(len(answers.truth), sum(answers.truth.values()))
    if asked is not None and len(answers.answers) < asked:
        found.notes.append(f"not finished: {len(answers.answers)} of {asked} answers are in")
    usable = _each_reader(answers, found, margin, alpha)
    if not usable:
        raise MameError("; ".join(found.notes) or "there is nothing to analyse")
    _each_modality(answers, found, usable, margin, alpha)
    _compare(answers, found, usable)
    _agreement(answers, found)
    _times(answers, found)
    _told_apart(answers, found)
    return found


def analyse_study(folder: Path) -> Analysis:
    """The analysis of a study as far as it was read, with its own margin."""
    with closing(AnswerStore(folder)) as store:
        found = analyse(store.answers(), store.study.margin, asked=store.study.asked)
        found.marks = [
            {"case": case, "reader": reader, "x": x, "y": y}
            for case, all_of in store.marks().items()
            for reader, x, y in all_of
        ]
    return found


def analyse_table(path: Path, margin: float | None = None) -> Analysis:
    """The analysis of a table of answers that were given elsewhere."""
    return analyse(read_answers(path), margin)


def _each_reader(answers: Answers, found: Analysis, margin: float | None, alpha: float) -> list[tuple[str, str]]:
    usable = []
    for modality in answers.modalities:
        for reader in answers.readers:
            cases = sorted(answers.cases_of(modality, reader))
            if not cases:
                continue
            truth = [answers.truth[case] for case in cases]
            scores = answers.scores(cases, [(modality, reader)])
            try:
                areas = delong(truth, scores)
            except MameError as error:
                found.notes.append(f"{called(reader)}{_in(modality)}: {error}")
                continue
            area = areas.estimate()
            if area.error == 0:
                why = (
                    "gave every case the same score"
                    if np.ptp(scores) == 0
                    else "parted the two kinds without exception"
                )
                found.notes.append(
                    f"{called(reader)}{_in(modality)} {why}: the interval has no width and shows nothing"
                )
            line = {"reader": reader, "modality": modality, "n": len(cases), **_area(area)}
            if margin is not None:
                line["equivalence"] = asdict(equivalence(area.value, area.error, margin, alpha=alpha))
            found.readers.append(line)
            found.curves.append({"reader": reader, "modality": modality, **_curve(truth, scores[0])})
            usable.append((modality, reader))
    return usable


def _each_modality(
    answers: Answers, found: Analysis, usable: list[tuple[str, str]], margin: float | None, alpha: float
) -> None:
    for modality in answers.modalities:
        places = [place for place in usable if place[0] == modality]
        if len(places) < 2:
            continue
        areas, cases = _shared(answers, found, places, f"the readers' mean{_in(modality)}")
        if areas is None:
            continue
        mean = average(areas)
        line = {"modality": modality, "readers": len(places), "n": cases, "df": mean.df, **_area(mean.area)}
        if margin is not None:
            line["equivalence"] = asdict(equivalence(mean.area.value, mean.area.error, margin, mean.df, alpha=alpha))
        found.modalities.append(line)


def _compare(answers: Answers, found: Analysis, usable: list[tuple[str, str]]) -> None:
    if len(answers.modalities) != 2:
        if len(answers.modalities) > 2:
            found.notes.append(f"{len(answers.modalities)} modalities: only two can be compared")
        return
    first, second = answers.modalities
    both = [reader for reader in answers.readers if (first, reader) in usable and (second, reader) in usable]
    if len(both) < 2:
        found.notes.append("the modalities are not compared: fewer than 2 readers read both")
        return
    places = [(modality, reader) for modality in (first, second) for reader in both]
    areas, cases = _shared(answers, found, places, "the comparison")
    if areas is None:
        return
    try:
        result = compare(areas, len(both))
    except MameError as error:
        found.notes.append(f"the modalities are not compared: {error}")
        return
    gap = result.difference
    found.comparison = {
        "first": first, "second": second, "readers": len(both), "n": cases,
        "difference": gap.value, "low": gap.low, "high": gap.high, "error": gap.error,
        "f": result.f, "df1": result.df1, "df2": result.df2, "p": result.p, **asdict(result.components),
    }  # fmt: skip


def _shared(answers: Answers, found: Analysis, places: list[tuple[str, str]], what: str) -> tuple[Areas | None, int]:
    """Areas over the cases that all of these have read: covariances need the same cases."""
    every = [answers.cases_of(*place) for place in places]
    cases = sorted(set.intersection(*every))
    missing = len(set.union(*every)) - len(cases)
    if missing:
        found.notes.append(f"{what}: over the {len(cases)} cases that all have read, without {missing} others")
    try:
        return delong([answers.truth[case] for case in cases], answers.scores(cases, places)), len(cases)
    except MameError as error:
        found.notes.append(f"{what}: {error}")
        return None, len(cases)


def _agreement(answers: Answers, found: Analysis) -> None:
    if len({one.score for one in answers.answers}) > MAX_GRADES:
        found.notes.append(f"no kappa: more than {MAX_GRADES} different scores are no grades")
        return
    for modality in answers.modalities:
        for one, other in combinations(answers.readers, 2):
            cases = sorted(answers.cases_of(modality, one) & answers.cases_of(modality, other))
            if len(cases) < 2:
                continue
            a, b = answers.scores(cases, [(modality, one), (modality, other)])
            line = {"readers": [one, other], "modality": modality}
            found.agreement_between.append({**line, **asdict(weighted_kappa(a, b))})
    for reader in answers.readers:
        pairs = [pair for pair in answers.repeats if pair[0].reader == reader]
        if len(pairs) < 2:
            continue
        kappa = weighted_kappa([first.score for first, _ in pairs], [second.score for _, second in pairs])
        found.agreement_within.append({"reader": reader, **asdict(kappa)})


def _times(answers: Answers, found: Analysis) -> None:
    for reader in answers.readers:
        seconds = [one.seconds for one in answers.answers if one.reader == reader and one.seconds is not None]
        if seconds:
            low, middle, high = (float(value) for value in np.quantile(seconds, [0.25, 0.5, 0.75]))
            found.times.append({"reader": reader, "n": len(seconds), "median_s": middle, "low_s": low, "high_s": high})


def _told_apart(answers: Answers, found: Analysis) -> None:
    """The cases whose mean score leans most to their own truth: what gave them away is worth a look."""
    middle = float(np.median([one.score for one in answers.answers]))
    lean: dict[str, list[float]] = {}
    for one in answers.first.values():
        lean.setdefault(one.case, []).append((one.score - middle) * (1 if one.truth else -1))
    ranked = sorted(lean, key=lambda case: (-float(np.mean(lean[case])), case))
    found.told_apart = [
        {"case": case, "truth": int(answers.truth[case]), "lean": float(np.mean(lean[case])), "n": len(lean[case])}
        for case in ranked[:TOLD_APART]
        if np.mean(lean[case]) > 0
    ]


def _curve(truth: list[bool], score: np.ndarray) -> dict[str, list[float]]:
    """The empirical curve, from (0, 0) to (1, 1), a point for each different score."""
    sick = np.asarray(truth, dtype=bool)
    cuts = np.unique(score)[::-1]
    hits = [float((score[sick] >= cut).mean()) for cut in cuts]
    alarms = [float((score[~sick] >= cut).mean()) for cut in cuts]
    return {"false_positive": [0.0, *alarms], "true_positive": [0.0, *hits]}


def _area(area: Estimate) -> dict[str, float]:
    return {"auc": area.value, "low": area.low, "high": area.high}


def called(reader: str) -> str:
    """A reader in a sentence: the name may say already that it is one."""
    return reader if reader.lower().startswith("reader") else f"reader {reader}"


def _in(modality: str) -> str:
    return f" in {modality}" if modality else ""
