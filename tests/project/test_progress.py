# SPDX-License-Identifier: Apache-2.0
"""Progress is neither silence nor a flood, and says what, how much and how long."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin import progress
from tinyfin.progress import Screen, showing, stage

FIRST_S, LAST_S = 2.0, 30.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Watched(Screen):
    """A screen on a clock of its own; every quarter of a second it looks, as the thread does."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.time = Clock()
        super().__init__(quiet=quiet, clock=self.time)

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.time.now_s += 0.25
            self.show()


@contextmanager
def watched(*, quiet: bool = False) -> Iterator[Watched]:
    with showing(Watched(quiet=quiet)) as screen:
        assert isinstance(screen, Watched)
        yield screen


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_what_is_short_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with watched() as screen, stage("reading", 100, "rows") as reading:
        screen.passes(1.75)
        reading.step(100)
    assert lines(capsys) == []


def test_what_how_much_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    with watched() as screen, stage("evaluating", 4, "models") as whole:
        whole.text = "week 1 of 3"
        with stage("reading", 100, "rows") as reading:
            reading.step(20)
            screen.passes(2.0)
            reading.step(30)
            screen.passes(8.0)
            reading.step(50)
        whole.step()
        whole.text = "week 2 of 3"
        with stage("training") as training:
            training.at(1, 10, "epochs, AP 0.500")
            screen.passes(2.0)
    assert lines(capsys) == [
        "evaluating, week 1 of 3: reading: 20 of 100 rows (20%), about 8 s left",
        "evaluating, week 1 of 3: reading: 50 of 100 rows (50%), about 10 s left",
        "evaluating, week 1 of 3: reading: 100 rows done in 10 s",
        "evaluating, week 2 of 3: 1 of 4 models (25%), about 31 s left",
        "evaluating, week 2 of 3 (about 36 s left): training, AP 0.500: 1 of 10 epochs (10%), "
        "about 18 s left",
        "evaluating: 1 models done in 12 s",
    ]


def test_an_unknown_end_is_shown_by_the_time_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    with watched() as screen, stage("converting"):
        screen.passes(2.0)
    assert lines(capsys) == ["converting: 2 s so far"]


@given(st.integers(2, 4000))
def test_neither_silence_nor_a_flood(seconds: int) -> None:
    told: list[float] = []

    class Counted(Watched):
        def say(self, text: str) -> None:
            told.append(self.time.now_s - 100.0)

    with showing(Counted()) as screen, stage("long"):
        assert isinstance(screen, Counted)
        screen.passes(seconds)
    moments = [0.0, *told, float(seconds)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert max(pauses) <= LAST_S + 0.25
    assert len(told) <= 3 + seconds / LAST_S + 1
    assert told[0] == FIRST_S


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    with watched(quiet=True) as screen, stage("reading", 10):
        screen.passes(60)
        progress.say("a note")
        progress.say("WARNING: look")
    assert lines(capsys) == ["WARNING: look"]


@pytest.mark.parametrize(("term", "live"), [("xterm-256color", True), ("dumb", False)])
def test_a_line_moves_on_a_terminal_that_can_move_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, term: str, live: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "40")
    with watched() as screen, stage("reading", 100, "rows") as reading:
        reading.step(50)
        screen.passes(2.0)
        progress.say("a note")
        screen.passes(0.25)
        reading.step(50)
    drawn = capsys.readouterr().err
    assert ("\x1b" in drawn) == ("\r" in drawn) == live
    assert "a note\n" in drawn
    if live:
        assert drawn.endswith("\r\x1b[Kreading: 100 rows done in 2 s\n")
        moving = drawn.split("\r\x1b[K")[1]
        assert moving == "reading: 50 of 100 rows (50%), about 2 s left"[:39]


def test_a_library_call_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with stage("reading", 3) as reading:
        reading.step(3)
    assert list(progress.shown("rows", [1, 2, 3])) == [1, 2, 3]
    assert lines(capsys) == []


def test_times_in_the_words_of_people() -> None:
    told = [progress.duration(s) for s in (0.4, 99, 100, 599, 900, 7500)]
    assert told == ["0 s", "99 s", "1 min 40 s", "9 min 59 s", "15 min", "2 h 5 min"]
