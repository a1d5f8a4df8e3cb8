# SPDX-License-Identifier: Apache-2.0
"""What a command is doing, how much of it is done, and how long it will take, on stderr.

Long work is in a :func:`stage`. Nothing is shown until :func:`showing` asks
for it, as the command line does: a library call stays silent. On a terminal one line
moves. Elsewhere a stage that takes longer than :data:`FIRST_S` gives a line, and further lines at
growing intervals.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from tinyfin.text import one_line, printable

__all__ = [
    "FIRST_S",
    "Screen",
    "Stage",
    "begin",
    "end",
    "hush",
    "say",
    "showing",
    "shown",
    "stage",
    "watched",
]

FIRST_S = 2.0
"""A stage that takes longer is shown."""
_LATER_S = (8.0, 15.0, 30.0)
"""Between further lines of a stage; the last one holds for all that follow."""
_TICK_S = 0.25


class Stage:
    """A piece of work. ``total`` is None where it is not known how much there is to do."""

    def __init__(
        self,
        what: str,
        total: int | None = None,
        unit: str = "",
        outer: Stage | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.unit, self.outer = what, total, unit, outer
        self.done = 0
        self.text = ""
        """What of it is under way, or how it goes."""
        self._clock = clock
        self.begun_s = self._phase_s = clock()
        self.told = 0
        """Lines given so far, where no line moves."""
        self.told_s = 0.0

    def step(self, count: int = 1) -> None:
        """So much more is done."""
        self.done += count

    def at(self, done: int, total: int, text: str) -> None:
        """So much is done, of so much; ``text``: the unit, and after a comma how it goes. With
        another unit another phase begins."""
        unit, _, self.text = text.partition(", ")
        if unit != self.unit:
            self._phase_s = self._clock()
        self.done, self.total, self.unit = done, total, unit

    def describe(self, now_s: float) -> str:
        """In words: what, how much, how long; what it is a part of comes first."""
        took_s = now_s - self._phase_s
        text = self._where(now_s) + self.title()
        if self.total is None:
            much = f" {self.done:,} {self.unit}," if self.done else ""
            return f"{text}:{much} {duration(took_s)} so far"
        share = min(self.done / max(self.total, 1), 1.0)
        much = f"{self.done:,} of {self.total:,} {self.unit}".rstrip()
        left = self._left(now_s) or f"{duration(took_s)} so far"
        return f"{text}: {much} ({share:.0%}), {left}"

    def finished(self, now_s: float) -> str:
        """In words, when it has ended."""
        much = f" {self.done:,} {self.unit}".rstrip() if self.total and self.unit else ""
        return f"{self._where(now_s)}{self.what}:{much} done in {duration(now_s - self.begun_s)}"

    def title(self) -> str:
        """What it is, and what of it is under way."""
        return f"{self.what}, {self.text}" if self.text else self.what

    def _left(self, now_s: float) -> str:
        share = self.done / max(self.total or 0, 1)
        if not 0 < share < 1:
            return ""
        return f"about {duration((now_s - self._phase_s) * (1 / share - 1))} left"

    def _where(self, now_s: float) -> str:
        if self.outer is None:
            return ""
        left = self.outer._left(now_s)
        return self.outer._where(now_s) + self.outer.title() + (f" ({left})" if left else "") + ": "


class Screen:
    """Shows stages. ``stream`` None: stderr, whatever it is at the time."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        first_s: float = FIRST_S,
    ) -> None:
        self.quiet, self.clock, self._first_s = quiet, clock, first_s
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        self._open: list[Stage] = []
        self._lock = threading.RLock()
        self._drawn = False
        self._ticker: threading.Thread | None = None
        self._stop = threading.Event()

    def begin(self, stage: Stage) -> None:
        """A stage begins."""
        with self._lock:
            stage.told_s = stage.begun_s
            self._open.append(stage)
            if self._ticker is None and self.clock is time.monotonic:
                self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")
                self._ticker.start()

    def end(self, stage: Stage, said: bool) -> None:
        """A stage has ended."""
        with self._lock:
            if stage in self._open:
                self._open.remove(stage)
            now = self.clock()
            took_s = now - stage.begun_s
            long = took_s >= self._first_s if self.live else stage.told and took_s >= _LATER_S[0]
            if said and long:
                self.say(stage.finished(now))
            else:
                self.erase()

    def say(self, text: str) -> None:
        """A line of its own."""
        with self._lock:
            self.erase()
            if not self.quiet or text.startswith(("WARNING", "error:")):
                click.echo(printable(text), err=True)

    def draw(self, text: str) -> None:
        """The line that moves."""
        with self._lock:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\x1b[K" + one_line(text)[:width])
            sys.stderr.flush()
            self._drawn = True

    def erase(self) -> None:
        """Take the moving line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

    def show(self) -> None:
        """Show what is under way, if it is time to."""
        with self._lock:
            now = self.clock()
            due = self._due(now)
            if self.quiet or not due:
                return
            if self.live:
                self.draw("   ".join(stage.describe(now) for stage in due))
                return
            for stage in due:
                wait = (self._first_s, *_LATER_S)[min(stage.told, len(_LATER_S))]
                if now - stage.told_s >= wait:
                    stage.told, stage.told_s = stage.told + 1, now
                    self.say(stage.describe(now))

    def _due(self, now_s: float) -> list[Stage]:
        """The innermost stages; in place of one that has only begun, what it is a part of."""
        outer = {stage.outer for stage in self._open}
        found: dict[Stage, None] = {}
        for stage in [stage for stage in self._open if stage not in outer]:
            place: Stage | None = stage
            while place is not None and now_s - place.begun_s < self._first_s:
                place = place.outer
            if place is not None:
                found[place] = None
        return list(found)

    def close(self) -> None:
        """Nothing more is shown."""
        self._stop.set()
        if self._ticker is not None:
            self._ticker.join(_TICK_S * 4)
        with self._lock:
            self.erase()

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_S):
            with contextlib.suppress(OSError, ValueError):  # stderr is gone: no one looks
                self.show()


_screen: Screen | None = None
_watcher: Callable[[Stage, bool], None] | None = None
_mine = threading.local()


@contextlib.contextmanager
def showing(screen: Screen) -> Iterator[Screen]:
    """Show the stages of the block on ``screen``."""
    global _screen
    before, _screen = _screen, screen
    try:
        yield screen
    finally:
        _screen = before
        screen.close()


@contextlib.contextmanager
def watched(watcher: Callable[[Stage, bool], None]) -> Iterator[None]:
    """Call ``watcher`` with each stage of the block, with True when it begins and with False when
    it ends, in the thread that does the work."""
    global _watcher
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


@contextlib.contextmanager
def stage(what: str, total: int | None = None, unit: str = "") -> Iterator[Stage]:
    """A piece of work that may take longer than a moment: ``total`` units of it."""
    outer: Stage | None = getattr(_mine, "stage", None)
    _mine.stage = made = begin(what, total, unit, outer)
    try:
        yield made
    finally:
        _mine.stage = outer
        end(made, said=True)


def begin(what: str, total: int | None = None, unit: str = "", outer: Stage | None = None) -> Stage:
    """A stage that :func:`end` ends, for work that events report."""
    clock = time.monotonic if _screen is None else _screen.clock
    made = Stage(what, total, unit, outer, clock)
    if _screen is not None:
        _screen.begin(made)
    if _watcher is not None:
        _watcher(made, True)
    return made


def end(made: Stage, *, said: bool = False) -> None:
    """A stage has ended; ``said``: say so, if it took long."""
    if _screen is not None:
        _screen.end(made, said)
    if _watcher is not None:
        _watcher(made, False)


def shown(what: str, rows: Any, unit: str = "rows") -> Iterator[Any]:
    """The entries of ``rows``, a sequence or an array, one after the other, as a stage."""
    with stage(what, len(rows), unit) as made:
        for row in rows:
            yield row
            made.step()


def say(text: str) -> None:
    """A line on stderr."""
    if _screen is None:
        click.echo(printable(text), err=True)
    else:
        _screen.say(text)


def hush() -> None:
    """Show only warnings and errors from now on."""
    if _screen is not None:
        _screen.quiet, _screen.live = True, False


def duration(seconds: float) -> str:
    """In the words of people: 12 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 100:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
