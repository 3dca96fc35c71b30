"""One function over many items: here, on processes, on Ray; and what a death in the middle does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mame.cluster import map_items
from mame.dataset.layout import UNFINISHED
from mame.dataset.plan import Item, Options
from mame.dataset.prepare import prepare_items
from mame.errors import MameError

from .conftest import KEY, write_item
from .test_prepare import files_of


def square(value: int) -> int:
    return value * value


def die_on_three(value: int) -> int:
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def refuse(value: int) -> int:
    raise MameError(f"no {value}")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_has_its_value(workers: int) -> None:
    found = {outcome.index: outcome.value for outcome in map_items(square, ((n + 5, n) for n in range(20)), workers)}
    assert found == {n + 5: n * n for n in range(20)}


def test_an_item_whose_process_dies_is_given_up_and_the_others_are_not() -> None:
    found = {outcome.index: outcome for outcome in map_items(die_on_three, ((n, n) for n in range(12)), 2)}
    assert {index for index, outcome in found.items() if outcome.lost} == {3}
    assert {index for index, outcome in found.items() if outcome.value == index} == set(range(12)) - {3}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_work_raises_is_raised(workers: int) -> None:
    with pytest.raises(MameError, match="no 0"):
        list(map_items(refuse, [(0, 0)], workers))


def test_a_script_that_starts_its_workers_at_import_is_told_so_once(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from mame.cluster import map_items\nfrom mame.errors import MameError\n"
        "try:\n    print(len(list(map_items(abs, enumerate(range(10_000)), 2))))\n"
        "except MameError as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.splitlines() == [
        "a worker process dies as it starts; a script that asks for workers has to do so under "
        'if __name__ == "__main__":'
    ]


def test_wrong_workers_are_refused() -> None:
    with pytest.raises(MameError, match="at least 1"):
        list(map_items(square, [(0, 0)], 0))


def test_a_cluster_that_isnt_there_is_one_line() -> None:
    pytest.importorskip("ray")
    with pytest.raises(MameError, match="can't be reached"):
        list(map_items(square, [(0, 0)], ray="127.0.0.1:1"))


# -- slow -----------------------------------------------------------------------------------------------------------

RUN = """
import json, pickle, sys
from pathlib import Path
from mame.dataset.plan import Options
from mame.dataset.prepare import prepare_items
from mame.dataset.pseudonyms import Pseudonyms
items = pickle.loads(Path(sys.argv[1]).read_bytes())
how = {"ray": sys.argv[3]} if sys.argv[3] == "local" else {"workers": int(sys.argv[3])}
prepare_items(items, Options("test", size=64), sys.argv[2], Pseudonyms(bytes(range(32))), **how)
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Three hundred images: sixteen pictures under many names, their stored values told apart by one pixel."""
    from dataclasses import replace

    import pydicom

    folder = tmp_path_factory.mktemp("many")
    base = [write_item(folder, n, lesions=n % 3, right=n % 2 == 0, outlined=False) for n in range(16)]
    items = []
    for n in range(300):
        item = base[n % 16]
        dataset = pydicom.dcmread(item.path)
        values = dataset.pixel_array.copy()
        values[0, 0] = n
        dataset.PixelData = values.tobytes()
        path = folder / f"copy-{n}.dcm"
        dataset.save_as(path)
        items.append(replace(item, path=path, source_id=f"image {n}", patient=f"patient {n // 4}"))
    return items


@pytest.fixture(scope="module")
def uninterrupted(many: list[Item], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("whole") / "set"
    return files_of(prepare_items(many, Options("test", size=64), place, KEY))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2", "local"])
def test_killed_in_the_middle_of_three_hundred(
    many: list[Item], uninterrupted: dict[str, bytes], tmp_path: Path, workers: str
) -> None:
    import pickle

    if workers == "local":
        pytest.importorskip("ray")
    told, out = tmp_path / "items.pickle", tmp_path / "set"
    told.write_bytes(pickle.dumps(many))
    script = tmp_path / "run.py"
    script.write_text(f"if __name__ == '__main__':\n    exec({RUN!r})\n")
    command = [sys.executable, str(script), str(told), str(out), workers]
    journal = out / UNFINISHED / "journal.jsonl"
    for aim in (150,) if workers == "local" else (60, 150, 240):  # a cluster takes seconds to start
        running = subprocess.Popen(command)
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= aim):
            assert running.poll() is None, "the run ended before it could be killed"
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
        running.wait()
        time.sleep(1.5)  # its workers end with it
    subprocess.run(command, check=True)
    assert files_of(out) == uninterrupted


@pytest.mark.slow
def test_ray_of_two_nodes_one_of_which_is_killed(
    many: list[Item], uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    alive: list[int] = []
    try:
        cluster.wait_for_nodes()

        def kill(done: int, total: int) -> None:
            if done == 100 and not alive:
                alive.append(sum(node["Alive"] for node in ray.nodes()))
                cluster.remove_node(second, allow_graceful=False)  # SIGKILL, with an image under way and one waiting
            if done == total:
                alive.append(sum(node["Alive"] for node in ray.nodes()))

        out = prepare_items(many, Options("test", size=64), tmp_path / "set", KEY, ray=cluster.address, progress=kill)
    finally:
        cluster.shutdown()
    assert alive == [2, 1]
    assert files_of(out) == uninterrupted
    assert json.loads((out / "dataset.json").read_text())["counts"]["images"] == 300
