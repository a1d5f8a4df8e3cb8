# SPDX-License-Identifier: Apache-2.0
"""The years of times that have none, and the clock of a capture, among wrong dates."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyfin.captures.calendar import COMING, Calendar
from tinyfin.captures.elements import Elements, Value
from tinyfin.captures.messages import Unreadable


def times(said: list[dt.datetime], year: int) -> tuple[list[dt.datetime | None], list[dt.datetime]]:
    """What a calendar reads of each, None where it refuses it, and its clock after each."""
    elements: list[Elements] = [{"sent": Value(f"{t:%m%d%H%M%S}", "DE7")} for t in said]
    calendar, found, clock = Calendar(year), [], []
    for i, one in enumerate(elements):
        calendar.follow(one, elements[i + 1 : i + 1 + COMING])
        try:
            found.append(calendar.sent(one))
        except Unreadable:
            found.append(None)
        assert calendar.now is not None
        clock.append(calendar.now)
    return found, clock


LATE = st.sampled_from([0, 0, 1, 90])
BUSY = st.tuples(
    st.sampled_from([0, 1, 30, 240]), LATE, st.sampled_from([0, 0, -99, -9, -4, 4, 9, 99])
)
SPARSE = st.tuples(st.sampled_from([0, 1, 30, 600, 4000, 40_000]), LATE, st.just(0))


@given(
    month=st.integers(1, 12),
    steps=st.lists(BUSY, min_size=1, max_size=60) | st.lists(SPARSE, min_size=1, max_size=60),
)
@settings(max_examples=300, deadline=None)
def test_wrong_dates_are_refused_and_move_nothing(
    month: int, steps: list[tuple[int, int, int]]
) -> None:
    """Traffic over the ends of years, not always in order. In busy traffic every sixth message may
    be dated anyhow; in sparse traffic weeks may pass. All that is dated right keeps its time, and
    the clock is never ahead of it."""
    now = dt.datetime(2025, month, 29 if month == 12 else 20)
    true, said = [now], [now]
    for i, (step, late, wrong_days) in enumerate(steps, 1):
        now += dt.timedelta(minutes=step)
        true.append(now - dt.timedelta(minutes=late))
        said.append(true[-1] + dt.timedelta(days=wrong_days if i % 6 == 0 else 0))
    quiet = [now + dt.timedelta(minutes=i) for i in range(COMING)]
    found, clock = times(said + quiet, 2025)
    for right, text, read, at in zip(true + quiet, said + quiet, found, clock, strict=True):
        assert read == (right if text == right else None)
        assert text != right or at < right + dt.timedelta(hours=3)


def test_a_clock_follows_by_an_hour_or_a_majority() -> None:
    """Of a terminal that is hours ahead the times are read, and the clock waits."""
    begin = dt.datetime(2025, 3, 14, 12)
    said = [begin + dt.timedelta(minutes=i, hours=5 if i % 3 == 1 else 0) for i in range(60)]
    found, clock = times(said, 2025)
    assert found == said
    assert clock[30] - begin < dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("near", "day", "said"),
    [
        ("1201000000", "0110000000", 2026),
        ("1231235959", "0101000000", 2026),
        ("0101000001", "1231235959", 2024),
        ("0110000000", "1201000000", None),
        ("0401000000", "1231000000", 2025),
        ("1130000000", "0110000000", None),
        ("0801000000", "0401000000", None),
    ],
)
def test_a_year_turns_over_from_december_to_january(near: str, day: str, said: int | None) -> None:
    calendar = Calendar(2025)
    for text in (near, day):
        calendar.follow({"sent": Value(text, "DE7")}, [])
    sent: Elements = {"sent": Value(day, "DE7")}
    if said is None:
        with pytest.raises(Unreadable, match="more than a day before those of the messages around"):
            calendar.sent(sent)
    else:
        found = calendar.sent(sent)
        assert found is not None
        assert found.year == said
