"""What every test runs under: no network, one thread a worker, and a loud word about outside parts that are absent."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share two cores, and pictures depend on the thread count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was skipped and why: a part that is absent here must not look like a part that works."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if not reasons:
        return
    terminalreporter.section("SKIPPED: absent here, so NOT TESTED", sep="!")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"  {count} tests: {reason}", yellow=True, bold=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")
