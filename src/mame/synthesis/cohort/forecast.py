"""What a plan will make, and what it will take, before anything runs: the table, the time and the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mame.synthesis.cohort.deal import Order
from mame.synthesis.cohort.draft import Draft
from mame.synthesis.plan import Accept, Output, Plan

FEW_STEPS = (1, 3)

HEADER_BYTES = 12_000  # of a DICOM object
JOURNAL_BYTES = 8_000
PNG_SHARE = 0.5  # of the pixels' bytes: air and smooth tissue pack well, grain does not


@dataclass(frozen=True)
class Forecast:
    """counts: property -> word -> images; time in seconds with all workers, without what will be thrown away."""

    counts: dict[str, dict[str, int]]
    images: int
    lesions: int
    sizes_mm: tuple[float, float] | None
    backgrounds: int | None
    workers: int
    elapsed_s: float
    disk_bytes: int

    def to_json(self) -> dict[str, Any]:
        """In values JSON can hold."""
        return {
            "images": self.images,
            "lesions": self.lesions,
            "sizes_mm": list(self.sizes_mm) if self.sizes_mm else None,
            "backgrounds": self.backgrounds,
            "counts": self.counts,
            "workers": self.workers,
            "elapsed_s": round(self.elapsed_s, 1),
            "disk_bytes": self.disk_bytes,
        }

    def to_text(self) -> str:
        """A table to read."""
        lines = [f"{self.images} images, {self.lesions} lesions" + self._of_backgrounds()]
        if self.sizes_mm:
            lines[0] += f", {self.sizes_mm[0]:g} to {self.sizes_mm[1]:g} mm"
        for name, counted in self.counts.items():
            for word, count in counted.items():
                lines.append(f"  {name:<8} {word:<15} {count:>8}  {count / self.images:>6.1%}")
                name = ""
        lines.append(f"time     about {_duration(self.elapsed_s)} ({self.workers} workers here), and what is remade")
        lines.append(f"disk     about {_bytes(self.disk_bytes)}")
        return "\n".join(lines)

    def _of_backgrounds(self) -> str:
        return "" if self.backgrounds is None else f", on {self.backgrounds} real mammograms"


def forecast(found: Draft, workers: int, time_one: Callable[[Plan, Order], float]) -> Forecast:
    """What a draft will make and take.

    time_one: seconds that an order takes here when it is made by a plan, for which it is asked a few times with few
    steps: what a step takes decides the rest.
    """
    orders = found.orders
    sizes = [lesion.size_mm for order in orders for lesion in order.lesions]
    used = {order.background for order in orders if order.background is not None}
    return Forecast(
        counts=_counts(orders),
        images=len(orders),
        lesions=len(sizes),
        sizes_mm=(min(sizes), max(sizes)) if sizes else None,
        backgrounds=None if found.pool is None else len(used),
        workers=workers,
        elapsed_s=_elapsed_s(found, time_one) / min(workers, len(orders)),
        disk_bytes=sum(bytes_an_image(found, order) for order in orders),
    )


def _counts(orders: Sequence[Order]) -> dict[str, dict[str, int]]:
    """property -> word -> images, the most frequent first."""
    columns: dict[str, Counter[str]] = {
        name: Counter(str(getattr(order.words, name) or "any") for order in orders)
        for name in ("vendor", "view", "density", "area")
    }
    columns["side"] = Counter(str(order.side or "any") for order in orders)
    columns["lesion"] = Counter(
        " + ".join(sorted({str(lesion.kind) for lesion in order.lesions})) or "none" for order in orders
    )
    columns["split"] = Counter(str(order.split) for order in orders)
    return {name: dict(counted.most_common()) for name, counted in columns.items() if set(counted) != {"any"}}


def _elapsed_s(found: Draft, time_one: Callable[[Plan, Order], float]) -> float:
    """Seconds of one worker for all orders: of those with and those without a lesion, one stands for all."""

    def passes(plan: Plan, order: Order) -> int:
        """Of a U-Net; making and painting take about the same."""
        return (plan.steps if found.maker is not None else 0) + plan.lesions.steps * len(order.lesions)

    total = 0.0
    for painted in (False, True):
        same = [order for order in found.orders if bool(order.lesions) is painted]
        if same:
            few, more = (_quick(found.plan, steps) for steps in FEW_STEPS)
            few_s, more_s = (time_one(plan, same[0]) for plan in (few, more))
            known = passes(few, same[0])
            pass_s = max(more_s - few_s, 0.0) / max(passes(more, same[0]) - known, 1)
            total += sum(few_s + pass_s * max(passes(found.plan, order) - known, 0) for order in same)
    return total


def _quick(plan: Plan, steps: int) -> Plan:
    """The plan with few steps, and every picture taken as it comes."""
    accept = Accept(tries=1, view=False, density=None, area=None, visible=None)
    lesions = plan.lesions.model_copy(update={"steps": steps})
    return plan.model_copy(update={"steps": steps, "lesions": lesions, "accept": accept})


def bytes_an_image(found: Draft, order: Order) -> int:
    """About how many bytes one image takes, with everything that belongs to it."""
    background, outputs, size = found.background(order), found.plan.outputs, found.options.size
    height, width = (size, size) if background is None else background.shape
    pixels, lesions = height * width, len(order.lesions)
    total = JOURNAL_BYTES + PNG_SHARE * 2 * size * size * (1 + lesions)  # a window around each
    if Output.PNG in outputs:
        total += PNG_SHARE * 2 * pixels
    if Output.DICOM in outputs:
        total += 2 * pixels + HEADER_BYTES
    if Output.SEG in outputs and lesions:
        total += lesions * pixels / 8 + HEADER_BYTES
    if Output.SR in outputs and lesions:
        total += HEADER_BYTES
    return int(total)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.1f} days"


def _bytes(count: int) -> str:
    for unit in ("kB", "MB", "GB"):
        count_ = count / {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
        if count_ < 1000:
            return f"{count_:.3g} {unit}"
    return f"{count / 1e12:.3g} TB"
