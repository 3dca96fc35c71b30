"""The reading room: how long the next picture takes, 4,700 × 2,600 at 16 bits, asked for as a browser does."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

from mame.assess.readers.store import AnswerStore
from mame.assess.readers.study import KEY, PICTURES, QUESTIONS, STUDY, Case, Kind, Study, Truth

HEIGHT, WIDTH = 4700, 2600
SCREEN = (664, 1200)  # of a screen of 1200 lines, the whole picture


def make_study(folder: Path, images: int) -> None:
    """Pictures of noise: nothing compresses worse."""
    (folder / PICTURES).mkdir(parents=True)
    cases = [Case(id=f"case-{i:03d}", pictures=[f"case-{i:03d}.png"]) for i in range(1, images + 1)]
    study = Study(
        kind=Kind.REAL, question=QUESTIONS[Kind.REAL], grades=list("12345"), seed=1, margin=0.1, readers=1,
        repeats=0, cases=cases,
    )  # fmt: skip
    truth = [Truth(id=case.id, synthetic=[i % 2 == 0], sources=[case.id], matched=[]) for i, case in enumerate(cases)]
    (folder / STUDY).write_text(study.model_dump_json())
    (folder / KEY).write_text(json.dumps([one.model_dump() for one in truth]))
    for number, case in enumerate(cases):
        values = np.random.default_rng(number).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
        Image.fromarray(values).save(folder / PICTURES / case.pictures[0], compress_level=1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=8)
    images = options.parse_args().images
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "study"
        make_study(folder, images)
        began = time.perf_counter()
        command = [sys.executable, "-m", "mame.cli", "readers", "serve", str(folder), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                base, token = server.stdout.readline().split(": ", 1)[1].strip().split("#")
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

                def call(path: str, body: dict[str, object] | None = None, method: str | None = None) -> bytes:
                    data = json.dumps(body).encode() if body is not None else None
                    request = urllib.request.Request(base + path, data, headers, method=method)
                    with urllib.request.urlopen(request, timeout=60) as answer:
                        return bytes(answer.read())

                for _ in range(600):
                    try:
                        headers["X-Seat"] = json.loads(call("api/join", method="POST"))["seat"]
                        break
                    except OSError:
                        time.sleep(0.1)
                print(f"ready to serve {images} pictures of {WIDTH}×{HEIGHT}: {time.perf_counter() - began:.1f} s")
                state = json.loads(call("api/state"))
                whole, close = [], []
                while state["case"]:
                    part = f"api/part/{state['case']}/0?"
                    began = time.perf_counter()
                    after = json.loads(call("api/answer", {"case": state["case"], "value": 3, "seconds": 1.0}))
                    if after["case"]:
                        part = f"api/part/{after['case']}/0?"
                        call(f"{part}x0=0&y0=0&x1={WIDTH}&y1={HEIGHT}&width={SCREEN[0]}&height={SCREEN[1]}")
                        whole.append(time.perf_counter() - began)
                        began = time.perf_counter()
                        call(f"{part}x0=500&y0=900&x1=1700&y1=2100&width=1200&height=1200")
                        close.append(time.perf_counter() - began)
                    state = after
            finally:
                server.terminate()
        assert len(AnswerStore(folder).answers().answers) == images
    for name, times in (("answer kept and next picture there", whole), ("1200×1200 of it at its own pixels", close)):
        print(f"{name}: median {np.median(times) * 1000:.0f} ms, longest {max(times) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
