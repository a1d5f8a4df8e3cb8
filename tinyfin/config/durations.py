# SPDX-License-Identifier: Apache-2.0
"""Durations and moments as people write them: "7d", "15m", "2018-08-01"."""

from __future__ import annotations

import datetime as dt
import re

__all__ = ["format_duration", "parse_duration", "parse_moment"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = re.compile(r"(\d+)([smhdw])")
_WHOLE = re.compile(r"-?(?:\d+[smhdw])+\Z")
_EPOCH = dt.datetime(2000, 1, 1)


def parse_duration(text: object) -> int:
    """Seconds of "30s", "15m", "12h", "7d", "2w" or a sum like "1d12h"; a sign may lead.

    Raises ValueError with the rule.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text == 0:
        return 0
    if not isinstance(text, str) or not _WHOLE.match(text):
        raise ValueError('a duration is written like "30s", "15m", "12h", "7d" or "2w"')
    if len(text) > 24:
        raise ValueError("a duration is at most 24 characters long")
    seconds = sum(int(n) * _UNITS[unit] for n, unit in _PART.findall(text))
    if seconds >= 2**32:
        raise ValueError("a duration is shorter than 136 years, as every time in the engine")
    return -seconds if text.startswith("-") else seconds


def format_duration(seconds: int) -> str:
    """The shortest single-unit form, "7d" for 604800."""
    for unit in "dhm":
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def parse_moment(value: object) -> int:
    """Seconds since 2000-01-01 of an ISO 8601 date or time (text, or TOML's own).

    A time with an offset is brought to UTC; without one it is taken as it is.
    Raises ValueError with the rule.
    """
    rule = 'a moment is written like "2018-08-01" or "2018-08-01T06:00:00"'
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(rule) from None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    if not isinstance(value, dt.datetime):
        raise ValueError(rule)
    if value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return round((value - _EPOCH).total_seconds())
