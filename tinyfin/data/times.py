# SPDX-License-Identifier: Apache-2.0
"""Times in their usual forms, as seconds since 2000-01-01."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.config import Column
from tinyfin.config.patterns import form_of
from tinyfin.data.cells import Ints, Mask, UnreadableType, by_value, texts, to_mask, to_numpy
from tinyfin.data.clocks import FORMS, offsets, patterns_for, read_forms, zone_of
from tinyfin.data.numerals import Style, number
from tinyfin.data.parse import floats, wholes
from tinyfin.data.transactions import EPOCH_UNIX_S

__all__ = ["Times", "parse_times"]

_LONG_UNITS = {"minutes": 60.0, "hours": 3600.0, "days": 86_400.0}
_PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_COMPACT = (
    (20000101, 21370101),
    (200001010000, 213701010000),
    (20000101000000, 21370101000000),
    (20000101000000000, 21370101000000000),
)
_OWN_ZONE = (
    r"(?i)[0-9 ](?:Z|UTC|GMT)$|[a-z]/[a-z_]+$"
    r"|[0-9]:[0-9]{2}(?::[0-9]{2})?(?:[.,][0-9]+)? ?[+-][0-9]{2}(?::?[0-9]{2})?$"
)
_RANGE = "must be between 2000-01-01 and 2136-02-07"


class Times(NamedTuple):
    """int64[n] UTC and local seconds, bool[n] present, broken rules with their rows, and bool[n]
    whether the time was read from a clock on the wall, without a zone."""

    mono_s: Ints
    local_s: Ints
    present: Mask
    broken: list[tuple[Mask, str]]
    wall: Mask


def parse_times(array: pa.Array, how: Column) -> Times:
    """Times of a flat column by its type and ``how.format``.

    Arrow timestamps are taken as they are; one with a zone has the wall clock of that zone for
    ``local_s``. Text is ISO 8601 or another form of ``FORMS``: an offset or a zone makes UTC for
    ``mono_s`` and leaves the written wall clock for ``local_s``; or it is as ``how.pattern`` says.
    Numbers count from ``how.epoch``, or 1970-01-01: seconds or smaller units, known by their
    size where ``format`` does not say, or minutes, hours, days, which are rounded to the nearest
    second. Fractions of a second are cut off. ``how.utc_offset`` is added to the local time. Times
    must fit u32.
    """
    kind, style = array.type, Style.of(how.strip, how.decimal)
    is_text = pa.types.is_string(kind)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = _from_arrow(array)
    elif how.pattern is not None or how.format == "iso" or pa.types.is_time(kind):
        times = _from_text(array if is_text else texts(array), how.pattern, style)
    elif is_text and how.format in (None, "auto") and how.strip is None:
        times = _from_any(array, how, style)
    else:
        times = _from_numbers(array, how, style)
    return _checked(_in_zone(times, how), how)


def _in_zone(times: Times, how: Column) -> Times:
    """UTC of the times without a zone, and local times of those in UTC, by ``how.zone``."""
    zone = None if how.zone is None else zone_of(how.zone)
    if zone is None:
        return times
    wall = times.wall
    east_of_wall = offsets(times.local_s, zone, of_wall=True)
    in_utc = ~wall & (times.local_s == times.mono_s)
    east_of_utc = np.where(in_utc, offsets(times.mono_s, zone, of_wall=False), 0)
    return times._replace(
        mono_s=np.where(wall, times.local_s - east_of_wall, times.mono_s),
        local_s=times.local_s + east_of_utc,
    )


def _checked(times: Times, how: Column) -> Times:
    local = times.local_s + (how.utc_offset or 0)
    good = times.present.copy()
    for mask, _ in times.broken:
        good &= ~mask
    bad = good & ((times.mono_s < 0) | (times.mono_s >= 2**32) | (local < 0) | (local >= 2**32))
    rule = f'{_RANGE}; if it means no time: empty = ["9999-12-31", ...]'
    if how.epoch is None:
        rule += '; if it counts from another day, say so: epoch = "YYYY-MM-DD"'
        if how.format in (None, "auto"):
            rule += (
                ', and in what: format = "hours"; a spreadsheet counts days: format = "days", '
                'epoch = "1899-12-30"'
            )
    return times._replace(local_s=local, broken=[*times.broken, (bad, rule)])


def _from_arrow(array: pa.Array) -> Times:
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("ms"))
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
    present = to_mask(array.is_valid())
    seconds = to_numpy(array.cast(pa.int64())) // per_second - EPOCH_UNIX_S
    local = seconds
    if array.type.tz is not None:
        zone = zone_of(array.type.tz)
        if zone is None:
            raise UnreadableType(f"times of the zone {array.type.tz!r}, which is not known here")
        local = seconds + offsets(seconds, zone, of_wall=False)
    return Times(seconds, local, present, [], np.full(len(seconds), array.type.tz is None))


def _from_any(array: pa.Array, how: Column, style: Style) -> Times:
    """Text of which each row is a number or a time in words."""
    plain = rf"^(?:{style.plain})(?:[eE][+-]?[0-9]{{1,3}})?$"
    is_number = to_mask(pc.match_substring_regex(array, plain))
    if not is_number.any():
        return _from_text(array, None, style)
    if is_number.all():
        return _from_numbers(array, how, style)
    times = _from_numbers(pc.if_else(pa.array(is_number), array, None), how, style)
    words = _from_text(pc.if_else(pa.array(is_number), None, array), None, style)
    return Times(
        np.where(is_number, times.mono_s, words.mono_s),
        np.where(is_number, times.local_s, words.local_s),
        times.present | words.present,
        [*times.broken, *words.broken],
        np.where(is_number, times.wall, words.wall),
    )


def _from_numbers(array: pa.Array, how: Column, style: Style) -> Times:
    what = "a time in seconds or milliseconds"
    base = -EPOCH_UNIX_S if how.epoch is None else how.epoch
    per_second: Ints | float
    if how.format in _LONG_UNITS:
        found = floats(array, style)
        per_second = 1 / _LONG_UNITS[how.format]
        numbers = np.nan_to_num(np.clip(found.values.view(np.float64), -(2.0**33), 2.0**33))
        seconds = np.rint(numbers / per_second).astype(np.int64) + base
    else:
        found = wholes(array, what, style)
        size = np.abs(found.values)
        per_second = _PER_SECOND.get(how.format or "") or np.select(
            [size < 10**11, size < 10**14, size < 10**17], [1, 10**3, 10**6], 10**9
        )
        seconds = found.values // per_second + base
    wall = np.full(len(seconds), how.format == "days")
    if how.epoch is None and how.format in (None, "auto"):
        dates = np.any([(found.values >= a) & (found.values < b) for a, b in _COMPACT], axis=0)
        if dates.any():
            words = pa.array(found.values[dates]).cast(pa.string())
            seconds[dates], _, real = read_forms(words, FORMS)
            seconds[np.flatnonzero(dates)[~real]] = -1
            wall |= dates
    if pa.types.is_floating(array.type):
        sizes = to_numpy(array)
        sizes = np.where(np.isfinite(sizes), np.abs(sizes), 0).astype(sizes.dtype)
        rule = (
            f"a {array.type.bit_width}-bit floating-point number is too coarse for this time; "
            "store the column as 64-bit float, integer or text"
        )
        found.broken.append((found.present & (np.spacing(sizes) > per_second), rule))
    return Times(seconds, seconds, found.present, found.broken, wall)


def _from_text(array: pa.Array, pattern: str | None, style: Style) -> Times:
    present = to_mask(array.is_valid())
    if pattern is None:
        try:  # the most usual forms, many times faster
            local = to_numpy(array.cast(pa.timestamp("us")).cast(pa.int64())) // 10**6
            local -= EPOCH_UNIX_S
            return Times(local, local, present, [], np.full(len(local), True))
        except pa.ArrowInvalid:
            pass
    array = pc.replace_substring_regex(array, r"\p{Zs}", " ")  # no-break and thin blanks
    wall = ~to_mask(pc.match_substring_regex(array, _OWN_ZONE))
    mono, local, good = read_forms(array, FORMS if pattern is None else (form_of(pattern),))
    bad = present & ~good
    if not bad.any():
        return Times(mono, local, present, [], wall)
    if pattern is not None:
        rule = f'must be a time written as pattern = "{pattern}"'
        return Times(mono, local, present, [(bad, rule)], wall)

    def why_not(word: str) -> str:
        if re.fullmatch(r"[0-9.,' ]+", word) and not patterns_for(word):
            why = number(word, style)
            return f"must be a time as a number: {why}" if isinstance(why, str) else _NO_TIME
        if abbreviation := re.search(r"[0-9] ([A-Z]{3,5})$", word):
            return (
                f"{_NO_TIME}; several zones are called {abbreviation[1]!r}: write the offset, as "
                "in +02:00, or the zone's name, as in Europe/Berlin"
            )
        if not patterns_for(word) and re.search(r"[^\W\d_]{3}", word):
            return f"{_NO_TIME}; names of months and days are read in English"
        fit = " or ".join(f'pattern = "{p}"' for p in patterns_for(word))
        return f"{_NO_TIME}; written otherwise, say how: {fit or _PATTERN}"

    _, _, broken = by_value(pc.if_else(pa.array(bad), array, None), why_not)
    return Times(mono, local, present, broken, wall)


_NO_TIME = 'must be a time like "2018-08-01T12:30:00" (ISO 8601)'
_PATTERN = 'pattern = "%d.%m.%Y %H:%M:%S"'
