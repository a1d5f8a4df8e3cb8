# SPDX-License-Identifier: Apache-2.0
"""What a run says while it runs: a line per case, and how far each target is."""

from __future__ import annotations

import time

from tinyfin import progress
from tinyfin.hil.runs.target import Event
from tinyfin.text import one_line

__all__ = ["Display"]


class Display:
    """Takes the events of :func:`tinyfin.hil.runs.runner.run_rig` and shows them on stderr."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._cases: dict[str, progress.Stage] = {}

    def __call__(self, event: Event) -> None:
        name, what = event["target"], event["event"]
        case = self._cases.get(name)
        if what == "progress" and case is not None:
            case.done, case.total, case.unit = event["done"], event["of"], "events"
        elif what == "begin":
            self._close(name)
            self._cases[name] = progress.begin(f"{name}: {event['case']}")
        elif what == "end":
            self._close(name)
            text = f": {event['text']}" if event.get("text") else ""
            took = f" ({event['seconds']:.1f} s)"
            self._line(name, f"{event['case']} {event['status'].upper()}{took}{text}")
        elif what != "progress":
            self._line(name, f"{what}: {event['text']}")

    def close(self) -> None:
        """Nothing is under way any more."""
        for name in list(self._cases):
            self._close(name)

    def _close(self, name: str) -> None:
        case = self._cases.pop(name, None)
        if case is not None:
            progress.end(case)

    def _line(self, name: str, text: str) -> None:
        seconds = time.monotonic() - self._start
        progress.say(one_line(f"{seconds:7.1f} s  {name:12} {text}"))
