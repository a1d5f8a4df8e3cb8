# SPDX-License-Identifier: Apache-2.0
"""Times written as text, read by regular expressions; and zones."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.config.patterns import form_of
from tinyfin.data.cells import Ints, Mask, by_value, to_mask
from tinyfin.data.transactions import EPOCH_UNIX_S

__all__ = ["FORMS", "offsets", "patterns_for", "read_forms", "zone_of"]

_ZONE = (
    r"(?:\s*(?P<z>(?:UTC|GMT)?[+\x{2212}-][0-9]{2}(?::?[0-9]{2}){0,2}(?: [A-Z]{3,5})?"
    r"|[Zz]|UTC|GMT|[A-Z][A-Za-z]+/[A-Za-z_/+-]+)"
    r"(?:\[[A-Za-z_/+-]+\]|\s*\([A-Za-z ]+\))?)?"
)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+\u2212-])([0-9]{2}):?([0-9]{2})?(?::?00)?(?: [A-Z]+)?")
_TIME = (
    r"(?:[T\s:]\s*(?P<H>[0-9]{1,2})(?:[:.](?P<M>[0-9]{2})(?:[:.](?P<S>[0-9]{2})(?:[.,][0-9]+)?)?)?"
    r"\s*(?P<p>[AaPp]\.?\s?[Mm]\.?)?" + _ZONE + ")?"
)
_DAY_NAME = r"(?:[A-Za-z]{3,9}\.?,?\s+)?"
_YEAR = r"(?:(?P<y>[0-9]{4})|(?P<yy>[0-9]{2}))"
_COMPACT = r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})"

FORMS = (
    # 2024-07-01T14:00:00.000+02:00, 2024/7/1 14:00, 2024-07-01 02:00 PM
    rf"(?P<y>[0-9]{{4}})[-/.](?P<m>[0-9]{{1,2}})[-/.](?P<d>[0-9]{{1,2}}){_TIME}",
    # DB2, FIX: 2024-07-01-14.00.00.000000, 20240701-14:00:00
    r"(?P<y>[0-9]{4})-?(?P<m>[0-9]{2})-?(?P<d>[0-9]{2})-(?P<H>[0-9]{2})[:.](?P<M>[0-9]{2})[:.]"
    rf"(?P<S>[0-9]{{2}})(?:\.[0-9]+)?{_ZONE}",
    # 20240701, 20240701 14:00; 20240701T140000Z; 20240701T1400
    rf"{_COMPACT}{_TIME}",
    # an hour that was a number has lost its zero: 20240701 93000
    rf"{_COMPACT}[T\s]?(?P<H>[0-9]{{1,2}})(?P<M>[0-9]{{2}})(?P<S>[0-9]{{2}})(?:[.,]?[0-9]+)?{_ZONE}",
    rf"{_COMPACT}T?(?P<H>[0-9]{{2}})(?P<M>[0-9]{{2}}){_ZONE}",
    # 01-JUL-24 02.00.00.000000 PM, 01JUL2024:14:00:00, Mon, 01 Jul 2024 12:00:00 GMT
    rf"{_DAY_NAME}(?P<d>[0-9]{{1,2}})[-/\s.]?(?P<b>[A-Za-z]{{3,9}})[-/\s.,]*{_YEAR},?{_TIME}",
    # Jul  1 2024  2:00PM, July 1, 2024 14:00, Mon Jul 01 2024 14:00:00 GMT+0200 (CEST)
    rf"{_DAY_NAME}(?P<b>[A-Za-z]{{3,9}})\.?\s+(?P<d>[0-9]{{1,2}}),?\s+(?P<y>[0-9]{{4}}),?{_TIME}",
    # Unix: Mon Jul  1 14:00:00 2024, Mon Jul  1 14:00:00 UTC 2024
    rf"{_DAY_NAME}(?P<b>[A-Za-z]{{3}})\s+(?P<d>[0-9]{{1,2}})\s+(?P<H>[0-9]{{2}}):(?P<M>[0-9]{{2}}):"
    rf"(?P<S>[0-9]{{2}}){_ZONE}\s+(?P<y>[0-9]{{4}})",
)
"""Forms that leave no doubt about day and month; with an offset or a zone, or without."""

_NAMES = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_MONTHS = {word: i for i, name in enumerate(_NAMES, 1) for word in (name, name[:3])} | {"sept": 9}
_PATTERNS = [
    f"{day}{time}"
    for day in (
        "%d.%m.%Y",
        "%d.%m.%y",
        "%m/%d/%Y",
        "%d/%m/%Y",
        "%m/%d/%y",
        "%d/%m/%y",
        "%d-%m-%Y",
        "%m-%d-%Y",
    )
    for time in (
        "",
        " %H:%M",
        " %H:%M:%S",
        " %H:%M:%S.%f",
        " %I:%M %p",
        " %I:%M:%S %p",
        ", %H:%M",
        ", %H:%M:%S",
        ", %I:%M %p",
        ", %I:%M:%S %p",
    )
]


@lru_cache(maxsize=256)
def _patterns(shape: str) -> tuple[str, ...]:
    return tuple(p for p in _PATTERNS if re.fullmatch(form_of(p), shape, re.ASCII))


def patterns_for(word: str) -> tuple[str, ...]:
    """Patterns that fit a time, by its shape alone."""
    return _patterns(re.sub(r"[0-9]", "9", word))


def read_forms(words: pa.Array, forms: Sequence[str]) -> tuple[Ints, Ints, Mask]:
    """UTC and local seconds since 2000-01-01 of the rows that one of the forms fits, and which."""
    utc, local = (np.zeros(len(words), np.int64) for _ in range(2))
    found = np.zeros(len(words), np.bool_)
    left = np.arange(len(words))
    for form in forms:
        utc[left], local[left], found[left] = _read(words.take(pa.array(left)), form)
        left = left[~found[left]]
        if not len(left):
            break
    return utc, local, found


def _read(words: pa.Array, form: str) -> tuple[Ints, Ints, Mask]:
    parts = pc.extract_regex(words, f"^(?:{form})$")
    good = to_mask(parts.is_valid())
    names = {field.name for field in parts.type}

    def text(name: str) -> pa.Array:
        return pc.fill_null(pc.struct_field(parts, name), "")

    def value(name: str, default: int) -> Ints:
        if name not in names:
            return np.full(len(words), default, np.int64)
        digits = pc.if_else(pc.equal(text(name), ""), str(default), text(name))
        return np.asarray(digits.cast(pa.int64()))

    def within(values: Ints, low: int, high: int) -> Ints:
        good[(values < low) | (values > high)] = False
        return np.clip(values, low, high)

    year, short = value("y", -1), value("yy", 0)
    year = within(np.where(year < 0, short + np.where(short < 69, 2000, 1900), year), 1, 9999)
    month = value("m", 1)
    if "b" in names:
        month = by_value(text("b"), lambda word: _MONTHS.get(word.lower(), 0))[0]
    month = (year - 1970) * 12 + within(month, 1, 12) - 1
    first, after = (_days(month + i) for i in (0, 1))
    if "j" in names:
        first, after = (_days((year + i - 1970) * 12) for i in (0, 1))
    day = first + within(value("j" if "j" in names else "d", 1), 1, 366) - 1
    good[day >= after] = False

    hour, minute, second = value("H", 0), within(value("M", 0), 0, 59), value("S", 0)
    if "p" in names:
        half = text("p")
        twelve = to_mask(pc.not_equal(half, ""))
        good[twelve & ((hour < 1) | (hour > 12))] = False
        hour = np.where(twelve, hour % 12, hour)
        hour += 12 * to_mask(pc.match_substring(half, "p", ignore_case=True))
    second = within(hour, 0, 24) * 3600 + minute * 60 + within(second, 0, 59)
    good[second > 86_400] = False  # 24:00 is the end of the day
    local = day * 86_400 + second - EPOCH_UNIX_S
    utc = local.copy()
    if "z" in names:
        zones = text("z").dictionary_encode()
        index = np.asarray(zones.indices)
        for i, name in enumerate(zones.dictionary.to_pylist()):
            rows, zone = index == i, zone_of(name)
            if zone is None:
                good[rows] = False
            elif name:
                utc[rows] -= offsets(local[rows], zone, of_wall=True)
    return utc, local, good


def _days(months: Ints) -> Ints:
    """Days since 1970-01-01 of the first day of a month, counted from 1970-01."""
    return np.asarray(months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64))


@lru_cache(maxsize=256)
def zone_of(name: str) -> dt.tzinfo | None:
    """The zone of "", "Z", "UTC", "+02:00", "+02" or "Europe/Berlin"; None if it is not known."""
    if name.upper() in ("", "Z", "UTC", "GMT"):
        return dt.UTC
    offset = _OFFSET.fullmatch(name)
    if offset:
        size = dt.timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        if size >= dt.timedelta(days=1):
            return None
        return dt.timezone(size if offset[1] == "+" else -size)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def offsets(seconds: Ints, zone: dt.tzinfo, *, of_wall: bool) -> Ints:
    """Seconds east of UTC at moments in seconds since 2000-01-01, UTC or by the zone's own wall
    clocks. Zones change their offset at quarters of an hour."""
    if isinstance(zone, dt.timezone):
        size = zone.utcoffset(None)
        return np.full(len(seconds), round(size.total_seconds()), np.int64)
    quarters, index = np.unique(np.clip(seconds, 0, 2**32) // 900, return_inverse=True)
    start = dt.datetime(2000, 1, 1, tzinfo=None if of_wall else dt.UTC)

    def offset(quarter: int) -> float:
        moment = start + dt.timedelta(seconds=900 * quarter)
        there = moment.replace(tzinfo=zone) if of_wall else moment.astimezone(zone)
        size = there.utcoffset()
        return 0.0 if size is None else size.total_seconds()

    table = np.array([offset(quarter) for quarter in quarters.tolist()] or [0.0])
    return np.asarray(np.rint(table).astype(np.int64)[index])
