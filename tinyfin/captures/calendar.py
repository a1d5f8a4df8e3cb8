# SPDX-License-Identifier: Apache-2.0
"""The times of a capture, most of which have no year, and its clock."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence

from tinyfin.captures.elements import Elements, Value
from tinyfin.captures.messages import Unreadable

__all__ = ["COMING", "Calendar"]

COMING = 16
"""Messages ahead that say whether a jump of the clock is one."""
_STEP = dt.timedelta(hours=1)
"""By so much one message alone moves the clock."""
_DAY = dt.timedelta(days=1)
"""So far from the clock a message may be, and the time at a terminal from UTC."""


class Calendar:
    """Times of messages. A year turns over at a step from December to January, nowhere else.

    The clock never goes back. A message moves it by an hour at most. It moves further only when
    most of the messages that come next are not before that message; else it moves to the first of
    them for which that holds. So one wrong date moves nothing.
    """

    def __init__(self, year: int | None = None) -> None:
        self.now: dt.datetime | None = None
        """The clock, in UTC where messages have DE7; None before the first of them."""
        self._year = year

    def begin(self, year: int | None) -> None:
        """A new file; ``year``: of its first message, None where all of them say it."""
        self.now, self._year = None, year

    def follow(self, elements: Elements, coming: Iterable[Elements]) -> None:
        """Move the clock with a message; ``coming``: what follows it in the file."""
        moment = self._try(elements, self.now)
        if moment is None or (self.now is not None and moment <= self.now):
            return
        if self.now is None or moment > self.now + _STEP:
            later, near = [], moment
            for one in coming:
                near = self._try(one, near) or near
                if self.now is None or near >= self.now - _DAY:
                    later.append(near)
            if not _holds(moment, later):
                moment = next(t for i, t in enumerate(later) if _holds(t, later[i + 1 :]))
        self.now = moment if self.now is None else max(self.now, moment)

    def sent(self, elements: Elements) -> dt.datetime | None:
        """Time in UTC (DE7), at most a day from the clock. Raises Unreadable."""
        value = elements.get("sent")
        return None if value is None else self._at_its_place(value)

    def local(self, elements: Elements) -> dt.datetime | None:
        """Time at the terminal (DE12 and DE13, tags 9A and 9F21), at most a day from DE7, or,
        where there is none, from the clock. Raises Unreadable."""
        value, sent = _local(elements), self.sent(elements)
        if value is None:
            return None
        if sent is None:
            return self._at_its_place(value)
        moment = self._moment(value, sent)
        if abs(moment - sent) > _DAY:
            raise Unreadable(f"{value.what}: date and time are more than a day from DE7")
        return moment

    def _at_its_place(self, value: Value) -> dt.datetime:
        moment = self._moment(value, self.now)
        if self.now is not None and not _has_year(value) and abs(moment - self.now) > _DAY:
            side = "before" if moment < self.now else "after"
            raise Unreadable(
                f"{value.what}: date and time are more than a day {side} those of the messages "
                "around it; a capture is in the order of time"
            )
        return moment

    def _try(self, elements: Elements, near: dt.datetime | None) -> dt.datetime | None:
        value = elements.get("sent") or _local(elements)
        try:
            return None if value is None else self._moment(value, near)
        except Unreadable:
            return None

    def _moment(self, value: Value, near: dt.datetime | None) -> dt.datetime:
        text = value.text
        if not re.fullmatch(r"(?:[0-9]{2})?[0-9]{10}", text):
            raise Unreadable(f"{value.what}: no date and time of 10 or 12 digits")
        if _has_year(value):
            return _date(2000 + int(text[:2]), text[2:], value)
        if near is None:
            if self._year is None:
                raise Unreadable(f"{value.what} has no year; --year says that of the first message")
            return _date(self._year, text, value)
        turn = {(12, 1): 1, (1, 12): -1}.get((near.month, int(text[:2])), 0)
        return _date(near.year + turn, text, value)


def _holds(moment: dt.datetime, later: Sequence[dt.datetime]) -> bool:
    """Whether most of what comes later is not before a moment."""
    return 2 * sum(one < moment - _STEP for one in later) <= len(later)


def _has_year(value: Value) -> bool:
    return len(value.text) == 12


def _local(elements: Elements) -> Value | None:
    time, date = elements.get("time"), elements.get("date")
    if time is None or len(time.text) == 12:  # ISO 8583:1993 writes the date before it
        return time
    if date is None:
        return None
    return Value(date.text + time.text, f"{time.what} and {date.what}")


def _date(year: int, digits: str, value: Value) -> dt.datetime:
    month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(0, 10, 2))
    try:
        return dt.datetime(year, month, day, hour, minute, second)
    except ValueError:
        raise Unreadable(f"{value.what}: there is no such date or time in {year}") from None
