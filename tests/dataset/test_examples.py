"""Sources of examples, mixed."""

from __future__ import annotations

import numpy as np
import pytest

from mame.dataset.examples import open_examples
from mame.errors import MameError


def test_a_mixture_holds_every_example_of_its_parts_and_spreads_them_evenly() -> None:
    first, second = (open_examples(f"phantom:{count}:{seed}", "views", 64) for count, seed in ((8, 1), (2, 2)))
    mixed = open_examples("phantom:8:1 + 2*phantom:2:2", "views", 64)
    assert len(mixed) == 12
    ids = [mixed[i].id for i in range(12)]
    assert sorted(ids) == sorted([f"phantom-1-{i}" for i in range(8)] + 2 * [f"phantom-2-{i}" for i in range(2)])
    for half in (ids[:6], ids[6:]):
        assert sum(name.startswith("phantom-1") for name in half) == 4
    where = ids.index("phantom-1-3")
    assert np.array_equal(mixed[where].pixels, first[3].pixels)
    assert np.array_equal(mixed[ids.index("phantom-2-1")].pixels, second[1].pixels)
    assert mixed.key != open_examples("phantom:8:1 + phantom:2:2", "views", 64).key


def test_a_part_that_is_no_source_is_named() -> None:
    with pytest.raises(MameError, match="'nowhere' is no source of views"):
        open_examples("phantom:8:1 + nowhere", "views", 64)
