"""The result of a CAD study as one page that needs nothing else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from mame.assess.cad.plan import PANELS, Result
from mame.formats.atomic import atomic_write

PAGE = "cad.html"
SIDE = 260  # of a drawing
WIDEST_RATE = 4.0  # false detections a picture
NAMES = {"auroc": "AUROC", "map50": "mAP50", "score": "FROC score"}
LEVEL = 0.05


def write_report(result: Result, folder: Path) -> Path:
    """Writes `cad.html` and returns its path."""
    environment = Environment(loader=PackageLoader("mame.assess.cad"), autoescape=True)
    page = environment.get_template("cad.html.j2").render(
        result=result, verdicts=verdicts(result), froc=_froc(result), clouds=_clouds(result), side=SIDE,
        tables=_tables(result), panels=_panels(folder / PANELS) if result.explain else [],
    )  # fmt: skip
    with atomic_write(folder / PAGE, force=True) as file:
        file.write(page.encode())
    return folder / PAGE


def verdicts(result: Result) -> list[str]:
    """A plain sentence for each arm and system, and for each classifier that was explained."""
    said = [f"classifier, {line['arm']}: {_figure(line, 'auroc')}{_gain(line)}" for line in result.classifier]
    said += [f"detector, {line['arm']}: {_figure(line, 'map50')}{_gain(line)}" for line in result.detector]
    for line in result.detector:
        said.append(f"detector, {line['arm']}: {_figure(line['froc'], 'score')}{_gain(line['froc'])}")
    return said + [seam_verdict(name, one["seam"]) for name, one in (result.explain or {}).items()]


def seam_verdict(name: str, tests: list[dict[str, Any]]) -> str:
    """Whether any method shows that a classifier looks at the rim of painted lesions more than of real ones."""
    worst = min(tests, key=lambda test: float(test["p_holm"]))
    seen = "sees a seam on painted lesions" if worst["p_holm"] < LEVEL else "is not shown to see a seam"
    return (
        f"{name}: {seen} (rim against real lesions' {worst['difference']:+.2f} by {worst['method']}, "
        f"p = {worst['p_holm']:.3g} after Holm)"
    )


def _figure(line: dict[str, Any], name: str) -> str:
    return f"{NAMES[name]} {line[name]:.3f} ({line['low']:.3f} to {line['high']:.3f})"


def _gain(line: dict[str, Any]) -> str:
    if "p_holm" not in line:
        return ""
    better = "gains" if line["difference"] > 0 else "loses"
    shown = better if line["p_holm"] < LEVEL else "is not shown to differ"
    return (
        f"; {shown}: {line['difference']:+.3f} ({line['difference_low']:+.3f} to {line['difference_high']:+.3f}), "
        f"p = {line['p_holm']:.3g} after Holm"
    )


def _tables(result: Result) -> list[dict[str, Any]]:
    """Each figure with its lines, all alike: arm, value, low, high, and the difference where there is one."""
    parts: list[tuple[str, str, list[dict[str, Any]]]] = [
        ("Classifier of patches", "auroc", result.classifier),
        ("Detector, precision", "map50", result.detector),
        ("Detector, sensitivity", "score", [{"arm": line["arm"], **line["froc"]} for line in result.detector]),
    ]
    return [
        {"title": title, "name": NAMES[name], "lines": [{**line, "value": line[name]} for line in lines]}
        for title, name, lines in parts
    ]


def _panels(folder: Path) -> list[dict[str, str]]:
    """The pictures of the maps, as data addresses."""
    return [
        {"name": path.stem, "image": f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"}
        for path in sorted(folder.glob("*.png"))
    ]


def _froc(result: Result) -> list[dict[str, str]]:
    drawn = []
    for number, line in enumerate(result.detector):
        rates, found = line["froc_curve"]
        points = [
            f"{SIDE * min(rate, WIDEST_RATE) / WIDEST_RATE:.1f},{SIDE * (1 - share):.1f}"
            for rate, share in zip(rates, found, strict=True)
        ]
        drawn.append({"name": line["arm"], "colour": f"hsl({number * 137 % 360} 70% 55%)", "points": " ".join(points)})
    return drawn


def _clouds(result: Result) -> list[dict[str, Any]]:
    """The points of each arm's features, in a square."""
    drawn = []
    for name, said in (result.explain or {}).items():
        sets = said["features"]["points"]
        every = [point for points in sets for point in points]
        if not every:
            continue
        low = [min(point[axis] for point in every) for axis in (0, 1)]
        span = [max(max(point[axis] for point in every) - low[axis], 1e-9) for axis in (0, 1)]
        placed = [[[SIDE * (p[a] - low[a]) / span[a] for a in (0, 1)] for p in points] for points in sets]
        drawn.append({"name": name, "sets": placed, "p": said["features"]["p"]})
    return drawn
