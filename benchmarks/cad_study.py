"""Does a detector gain from painted lesions? The CAD study, on phantoms or on real mammograms, from nothing to a page.

    python benchmarks/cad_study.py phantoms WORK
    python benchmarks/cad_study.py real WORK --data ../shared/data/cdd-cesm

Runs the commands that a user would, each in WORK, and goes on where it was stopped. Phantoms: half of them with a
mass, by patient; the cohort are other phantoms, healthy, into which mini-lesion painted masses. Real: CDD-CESM at
512²; on the test side are the patients whom mini-lesion never saw (none of their images is in the part that it
learned from), to learn from are the others; the cohort are the images called normal, painted. Of 313 images with marks
the study keeps those whose marks are at most 80 mm long: with 60 fewer than 20 patients would be left to test on.
Prints the arms, what they gain, where the classifiers look, and the time of the study itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import yaml

from mame.assess.cad.plan import Result
from mame.assess.cad.report import verdicts

PHANTOMS = 200
CASES = {"phantoms": 80, "real": 80}  # pictures of the cohort
LARGEST = {"phantoms": "60", "real": "80"}  # mm, of a lesion's box


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["phantoms", "real"])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cdd-cesm"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--prepare-only", action="store_true", help="stop before the study")
    options = parser.parse_args()
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    if options.what == "phantoms":
        of_phantoms(work)
    else:
        of_patients(work, options.data)
    plan = {
        "count": CASES[options.what],
        "seed": 5,
        "background": {"set": str((work / "healthy").resolve()), "side": "train"},
        "lesions": {"share": 1, "kinds": {"mass": 1.0}, "size_mm": {"set": str((work / "set").resolve())}},
        "outputs": ["png"],
    }
    (work / "plan.yaml").write_text(yaml.safe_dump(plan))
    command("synthesize", work / "plan.yaml", work / "cohort", may_fall_short=True)
    if options.prepare_only:
        return
    out = work / ("study-quick" if options.quick else "study")
    began = time.monotonic()
    largest = LARGEST[options.what]
    command("cad", work / "set", work / "cohort", out, "--largest", largest, *["--quick"] * options.quick)
    print(f"mam-e cad: {(time.monotonic() - began) / 60:.1f} min\n")
    report(Result(**json.loads((out / "cad.json").read_text())))


def of_phantoms(work: Path) -> None:
    """`set` with lesions, test side included; `healthy` without."""
    for name, seed, share, split in (("set", 31, "0.5", "0.35,0.05,0.6"), ("healthy", 32, "0", "1,0,0")):
        count = str(PHANTOMS if name == "set" else CASES["phantoms"])
        drawn = work / f"{name}-drawn"
        command("phantom", drawn, "--count", count, "--seed", str(seed), "--lesions", share, "--size", "1024")
        command("prepare", "phantom", drawn, work / name, "--split", split, "--windows", "0")


def of_patients(work: Path, data: Path) -> None:
    """`set` of lesions, of which no test patient was seen by mini-lesion; `healthy` of the normals."""
    with (data / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seen = {row["patient"] for row in rows if row["file"].startswith("full/")}
    normal = [row for row in rows if row["pathology"] == "Normal"]
    ill = [row for row in rows if row["pathology"] != "Normal"]
    parts = {
        "learned": ([row for row in ill if row["patient"] in seen], "0.95,0.05,0"),
        "tested": ([row for row in ill if row["patient"] not in seen], "0,0,1"),
        "healthy": (normal, "1,0,0"),
    }
    for name, (chosen, split) in parts.items():
        root = work / f"{name}-root"
        root.mkdir(exist_ok=True)
        for row in chosen:
            for path in filter(None, (row["file"], row["mask"])):
                place = root / path
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.exists():
                    place.symlink_to((data / path).resolve())
        with (root / "index.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(chosen)
        command("prepare", "cdd-cesm", root, work / name, "--split", split, "--windows", "0")
    if not (work / "set" / "dataset.json").is_file():
        command("fuse", work / "learned", work / "tested", work / "set")


def command(*words: str | Path, may_fall_short: bool = False) -> None:
    """A command of mam-e, its lines shown; a cohort that left an order out ends with 1."""
    done = subprocess.run([sys.executable, "-m", "mame.cli", *map(str, words)])
    if done.returncode not in ((0, 1) if may_fall_short else (0,)):
        sys.exit(done.returncode)


def report(result: Result) -> None:
    """What the docs show."""
    print("| system, arm | figure (95 %) | against real only |\n| --- | --- | --- |")
    said = verdicts(result)
    for text in (line for line in said if line.startswith(("classifier,", "detector,"))):
        name, _, rest = text.partition(": ")
        figure, _, gain = rest.partition("; ")
        print(f"| {name} | {figure} | {gain} |")
    for line in result.curve:
        print(f"share of the real patients {line['share']:g}, {line['arm']}: AUROC {line['value']:.3f} "
              f"({line['low']:.3f} to {line['high']:.3f})")  # fmt: skip
    print("\n| classifier | lesions | method | n | pointing | inside | rim over area |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for arm, found in (result.explain or {}).items():
        for line in found["maps"]:
            if line["n"]:
                print(f"| {arm} | {line['lesions']} | {line['method']} | {line['n']} | {line['pointing']:.0%} | "
                      f"{line['inside']:.0%} | {line['rim_excess']:.2f} |")  # fmt: skip
        for test in found["seam"]:
            print(f"| {arm} | painted less real | {test['method']}, seam test | | | | {test['difference']:+.2f}, "
                  f"p = {test['p_holm']:.3f} |")  # fmt: skip
        print(f"| {arm} | real against painted | features | | | | p = {found['features']['p']:.3f} |")
    print()
    print(*[line for line in said if not line.startswith(("classifier,", "detector,"))], sep="\n")
    print(*[f"note: {note}" for note in result.notes], sep="\n")


if __name__ == "__main__":
    main()
