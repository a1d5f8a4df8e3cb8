# SPDX-License-Identifier: Apache-2.0
"""In continuous integration a test may be skipped only for what cannot be installed there."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

# as many workers as cores: threads that wait for each other actively would only be in the way
os.environ.setdefault("OMP_NUM_THREADS", "1")

ALLOWED = (
    "not part of the repository",  # shared anchors and data
    "no 32-bit libc",
    "not a git checkout",
    "tflite-runtime cannot be installed",
    "needs root to be two users",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A missing compiler or emulator is a failure where everything is meant to be there."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr)
        if not any(text in reason for text in ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped in continuous integration: {reason}"
    return report
