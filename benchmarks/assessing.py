"""How long a report takes, how radiomic features compare with frd-score, and a search for copies among 30,000.

    python benchmarks/assessing.py [--images 500] [--size 512] [--workers 2] [--reference 30] [--training 30000]

Phantoms are drawn first and stand for both sides; what was measured before is not used. frd-score is the optional extra
`reference`; both read the same PNG files with one process, in turns. For the search, training pictures are details of
phantoms, shifted and mixed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from mame.assess.features import CACHE
from mame.assess.likeness import THUMBNAIL, Index, detail
from mame.assess.radiomics import radiomic_features
from mame.assess.report import assess
from mame.assess.run import Order
from mame.dataset.simulated import PhantomViews
from mame.formats.manifest import write_manifest

TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--reference", type=int, default=30)
    parser.add_argument("--training", type=int, default=30_000)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as place:
        os.environ[CACHE] = f"{place}/cache"
        if options.reference:
            against_reference(Path(place), options.reference, options.size)
        if options.training:
            search(options.training)
        if options.images:
            whole(Path(place), options.images, options.size, options.workers)


def draw(folder: Path, seed: int, count: int, size: int) -> Path:
    """Phantoms as 16-bit PNG, with what was asked of them."""
    folder.mkdir()
    views, lines = PhantomViews("x", count, seed, size), []
    for index in range(count):
        example = views[index]
        Image.fromarray(np.rint(example.pixels * 65535).astype(np.uint16)).save(folder / f"{index:04d}.png")
        said = example.description
        words = {"vendor": said.vendor, "view": said.view, "density": said.density, "area": said.area}
        lines.append({"file": f"{index:04d}.png", "description": words, "laterality": "L", "spacing_mm": 256 / size})
    write_manifest(folder, lines)
    return folder


def whole(place: Path, count: int, size: int, workers: int) -> None:
    real, synthetic = draw(place / "real", 1, count, size), draw(place / "synthetic", 2, count, size)
    began = time.monotonic()
    with most_memory() as peak:
        assess(real, synthetic, place / "report", Order(workers=workers), say=lambda text: None)
    first = time.monotonic() - began
    began = time.monotonic()
    assess(real, synthetic, place / "again", Order(workers=workers), say=lambda text: None)
    again = time.monotonic() - began
    print(
        f"report of {count} against {count} at {size}x{size}, {workers} workers: {first / 60:.1f} min, again with what "
        f"was measured {again / 60:.1f} min; peak memory {peak[0] / 1e9:.2f} GB, workers included; load "
        f"{os.getloadavg()[0]:.1f}"
    )


@contextmanager
def most_memory() -> Iterator[list[int]]:
    """Bytes that this process and its workers had at most, what they share counted once (PSS), asked twice a second."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not done.wait(0.5):
            total = 0
            for process in (me, *me.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_full_info().pss
            peak[0] = max(peak[0], total)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def against_reference(place: Path, count: int, size: int) -> None:
    folder = place / "reference"
    draw(folder, 3, count, size)
    files = sorted(folder.glob("*.png"))
    ours, theirs = [], []
    try:
        from frd_score import frd
    except ImportError:
        print("frd-score is not installed: pip install 'mam-e[reference]'")
        return
    extractor = frd.get_feature_extractor()
    frd.setVerbosity(60)
    for turn in range(TURNS):
        part = files[turn::TURNS]
        began = time.process_time()
        for path in part:
            frd.process_image_mask_pair((path, None), feature_extractor=extractor)
        theirs.append((time.process_time() - began) / len(part))
        began = time.process_time()
        for path in part:
            radiomic_features(np.asarray(Image.open(path)))
        ours.append((time.process_time() - began) / len(part))
    ratios = [there / here for here, there in zip(ours, theirs, strict=True)]
    print(
        f"radiomic features, CPU s a picture of {size}x{size}: frd-score {np.median(theirs):.3f}, ours "
        f"{np.median(ours):.3f}: {np.median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f})"
    )


def search(count: int) -> None:
    views = PhantomViews("x", 60, 4, THUMBNAIL)
    some = np.stack([detail(views[i].pixels) for i in range(60)])
    rng = np.random.default_rng(0)
    training = np.empty((count, THUMBNAIL, THUMBNAIL), dtype=np.float16)
    for index in range(count):
        one, other = some[rng.integers(60, size=2)]
        training[index] = np.roll(one, tuple(rng.integers(-20, 20, 2)), axis=(0, 1)) + other[::-1]
    began = time.monotonic()
    found = Index(training).search(training[:500])
    spent = time.monotonic() - began
    right = float((found.index == np.arange(500)).mean())
    print(f"nearest of {count:,} training pictures for 500: {spent:.0f} s ({right:.0%} find themselves)")


if __name__ == "__main__":
    main()
