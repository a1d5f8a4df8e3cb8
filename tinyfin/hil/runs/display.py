# SPDX-License-Identifier: Apache-2.0
"""What a run says while it runs: one line per event, and on a terminal a line that moves."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, TextIO

__all__ = ["Display"]

_PLAIN_S = 10.0
_REDRAW_S = 0.2


class Display:
    """Takes the events of :func:`tinyfin.hil.runs.runner.run_rig` and tells people, on stderr."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._out = stream or sys.stderr
        self._live = self._out.isatty() and not quiet
        self._quiet = quiet
        self._start = time.monotonic()
        self._now: dict[str, str] = {}
        self._told: dict[str, float] = {}
        self._drawn = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        name, what = event["target"], event["event"]
        if what == "progress":
            share = f"{event['done']:,} of {event['of']:,} events"
            self._now[name] = f"{event['case']} {share}"
            last = self._told.setdefault(name, time.monotonic())
            if not self._live and time.monotonic() - last >= _PLAIN_S:
                self._told[name] = time.monotonic()
                self._line(name, f"{event['case']}: {share}")
        elif what == "begin":
            self._now[name] = event["case"]
            self._told[name] = time.monotonic()
            if not self._live:
                self._line(name, f"{event['case']} ...")
        elif what == "end":
            self._now.pop(name, None)
            text = f": {event['text']}" if event.get("text") else ""
            took = f" ({event['seconds']:.1f} s)"
            self._line(name, f"{event['case']} {event['status'].upper()}{took}{text}")
        else:
            self._line(name, f"{what}: {event['text']}")
        self._draw()

    def close(self) -> None:
        """Leave the line."""
        self._erase()
        self._live = False

    def _line(self, name: str, text: str) -> None:
        if self._quiet:
            return
        self._erase()
        seconds = time.monotonic() - self._start
        print(f"{seconds:7.1f} s  {name:12} {text}", file=self._out, flush=True)

    def _draw(self) -> None:
        if not self._live or time.monotonic() - self._drawn < _REDRAW_S:
            return
        self._drawn = time.monotonic()
        text = "   ".join(f"{name}: {now}" for name, now in self._now.items())
        width = shutil.get_terminal_size().columns - 1
        self._out.write("\r\x1b[K" + text[:width])
        self._out.flush()

    def _erase(self) -> None:
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()
