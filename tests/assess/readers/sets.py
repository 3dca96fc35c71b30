"""Small prepared sets to draw studies from."""

from __future__ import annotations

from pathlib import Path

from sources.miniature import breast, dicom, prepare, table

from mame.mammogram import LesionKind

# with a key by chance, one set in thirty would have windows without a lesion for half of its patients
KEY = "5a" * 32
COLUMNS = ("file", "patient", "finding", "x0", "y0", "x1", "y1", "density")


def make_set(folder: Path, first: int, patients: int, size: int) -> Path:
    """A prepared set of as many patients, each with a lesion; views and densities in turn; the same every time."""
    root, rows = folder / f"source-{first}", []
    for number in range(first, first + patients):
        truth = breast(100 + number % 6, "L", "CC" if number % 2 else "MLO", "BC"[number // 2 % 2], (LesionKind.MASS,))
        name = f"{number}.dcm"
        dicom(truth.stored(3000 + number), root / name, ViewPosition=str(truth.view), PatientID=f"p{number}")
        (box,) = truth.boxes()
        corners = dict(zip(("x0", "y0", "x1", "y1"), box.as_tuple(), strict=True))
        rows.append({"file": name, "patient": f"p{number}", "finding": "Mass", "density": truth.density} | corners)
    table(root / "labels.csv", COLUMNS, rows)
    (folder / "key").write_text(KEY + "\n")
    prepare("dicom", root, folder / f"set-{first}", "--size", str(size), "--split", "60,0,40")
    return folder / f"set-{first}"
