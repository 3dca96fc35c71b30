"""Phantoms of a machine that mini never saw, as a prepared set to fine-tune it on.

    python examples/unseen_look.py OUT [--count 400] [--size 256] [--seed 41]

The machine is called "fuji". It lifts fat to a light grey, is softer in the dense part and sharpens over a wide radius.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from phantom_sets import write_set

from mame.dataset.captions import Said
from mame.imaging.phantom.looks import Look

FUJI = Look(
    "fuji", "phantom-F", 0.05, ((4728, 3540), (5928, 4728)), 5500.0, 0.1,
    flatten=0.98, sharpen=((0.9, 2.0), (0.6, 9.0)), gain=1.7, middle=0.3, adapt=0.3, floor=0.36,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=41)
    options = parser.parse_args()
    words = (Said.VENDOR, Said.DENSITY, Said.AREA)
    print(write_set(options.out, FUJI, words, options.count, options.seed, options.size))


if __name__ == "__main__":
    main()
