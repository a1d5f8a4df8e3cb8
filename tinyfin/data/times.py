# SPDX-License-Identifier: Apache-2.0
"""Times in their usual forms, as seconds since 2000-01-01."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.config import Column
from tinyfin.data.parse import flat, texts
from tinyfin.data.transactions import EPOCH_UNIX_S

__all__ = ["Times", "parse_times"]

Mask = npt.NDArray[np.bool_]

_ISO = (
    r"^(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<hm>[0-9]{2}:[0-9]{2})(?::(?P<s>[0-9]{2})(?:[.,][0-9]+)?)?"
    r"\s*(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
)
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]*)?$"
_MS_FROM = 10**11  # larger numbers can only be milliseconds: in seconds it is the year 5138
_UNITS = {"minutes": 60.0, "hours": 3600.0, "days": 86_400.0}
_RANGE = "must lie between 2000-01-01 and 2136-02-07"


class Times(NamedTuple):
    """int64[n] UTC and local seconds, bool[n] present, broken rules with their rows."""

    mono_s: npt.NDArray[np.int64]
    local_s: npt.NDArray[np.int64]
    present: Mask
    broken: list[tuple[Mask, str]]


def parse_times(column: pa.Array, how: Column) -> Times:
    """Times of a column by its type and ``how.format``.

    Arrow timestamps and dates are taken as they are. Text is ISO 8601: an offset makes UTC for
    ``mono_s`` and leaves the written wall clock for ``local_s``. Numbers are seconds (milliseconds
    from 1e11 on, unless ``format`` says; or minutes, hours, days) since ``how.epoch``, or
    1970-01-01. ``how.pattern`` reads text by strptime's directives. Fractions of a second
    are cut off. ``how.utc_offset`` is added to the local time. Times must fit u32.
    """
    array = flat(column)
    kind = array.type
    if how.pattern is not None and not pa.types.is_temporal(kind):
        times = _from_pattern(texts(array), how.pattern)
    elif pa.types.is_temporal(kind) and not pa.types.is_time(kind):
        times = _from_arrow(array)
    elif how.format == "iso" or (how.format in (None, "auto") and _looks_iso(array)):
        times = _from_iso(texts(array))
    else:
        times = _from_numbers(array, how)
    return _checked(times, how)


def _checked(times: Times, how: Column) -> Times:
    local = times.local_s + (how.utc_offset or 0)
    good = times.present.copy()
    for mask, _ in times.broken:
        good &= ~mask
    bad = good & ((times.mono_s < 0) | (times.mono_s >= 2**32) | (local < 0) | (local >= 2**32))
    rule = _RANGE
    if how.epoch is None:
        rule += '; if it counts from another day, say so: epoch = "YYYY-MM-DD"'
        if how.format in (None, "auto"):
            rule += ', and in what: format = "hours"'
    return times._replace(local_s=local, broken=[*times.broken, (bad, rule)])


def _looks_iso(array: pa.Array) -> bool:
    if not pa.types.is_string(array.type):
        return False
    numeric = pc.sum(pc.match_substring_regex(texts(array), _NUMBER)).as_py() or 0
    return bool(numeric * 2 < len(array) - array.null_count or array.null_count == len(array))


def _from_arrow(array: pa.Array) -> Times:
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("ms"))
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
    present = _np(array.is_valid())
    ticks = _np(pc.fill_null(array.cast(pa.int64()), 0))
    seconds = ticks // per_second - EPOCH_UNIX_S
    return Times(seconds, seconds, present, [])


def _from_numbers(array: pa.Array, how: Column) -> Times:
    rule = "must be a time in seconds or milliseconds"
    n = len(array)
    if pa.types.is_string(array.type):
        text = texts(array)
        present = _np(text.is_valid())
        numeric = _np(pc.fill_null(pc.match_substring_regex(text, _NUMBER), False))
        array = pc.if_else(pa.array(numeric), text, "0").cast(pa.float64())
        broken = [(present & ~numeric, rule)]
        numbers = _np(array)
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        present = _np(array.is_valid())
        numbers = _np(pc.fill_null(array, pa.scalar(0, array.type)))
        finite = np.isfinite(numbers)
        broken = [(present & ~finite, rule)]
        numbers = np.where(finite, numbers, 0)
    else:
        present = _np(array.is_valid())
        none = np.zeros(n, np.int64)
        return Times(none, none, present, [(present, f"{rule}, not {array.type}")])
    limited = np.clip(numbers, -(2.0**52), 2.0**52)
    if how.format in _UNITS:
        seconds = np.floor(np.clip(limited, -(2.0**33), 2.0**33) * _UNITS[how.format])
    else:
        ms = numbers >= _MS_FROM if how.format in (None, "auto") else how.format == "milliseconds"
        seconds = np.floor(np.where(ms, limited / 1000.0, limited))
    seconds = seconds.astype(np.int64)
    seconds += -EPOCH_UNIX_S if how.epoch is None else how.epoch
    return Times(seconds, seconds, present, broken)


def _from_pattern(text: pa.Array, pattern: str) -> Times:
    present = _np(text.is_valid())
    parsed = pc.strptime(text, format=pattern, unit="s", error_is_null=True)
    good = _np(parsed.is_valid()) & present
    # strptime takes a 31st of February for the 3rd of March: look again where that may have been
    early = good & (_np(pc.fill_null(pc.day(parsed), 9)) <= 3)
    if early.any():
        words = text.filter(pa.array(early)).dictionary_encode()
        real = np.array([_is_real(word, pattern) for word in words.dictionary.to_pylist()])
        good[early] = real[_np(words.indices)]
    seconds = _np(pc.fill_null(parsed.cast(pa.int64()), 0)) - EPOCH_UNIX_S
    rule = f'must be a time written as pattern = "{pattern}"'
    return Times(seconds, seconds, present, [(present & ~good, rule)])


def _is_real(word: str, pattern: str) -> bool:
    try:
        dt.datetime.strptime(word, pattern)
    except ValueError:
        return False
    return True


def _from_iso(text: pa.Array) -> Times:
    present = _np(text.is_valid())
    parts = pc.extract_regex(text, _ISO)
    good = _np(parts.is_valid()) & present
    day, hm, s, zone = (pc.fill_null(_part(parts, name), "") for name in ("day", "hm", "s", "zone"))
    wall = pc.binary_join_element_wise(
        _or(day, "1970-01-01"),
        pc.binary_join_element_wise(_or(hm, "00:00"), _or(s, "00"), ":"),
        "T",
    )
    try:
        local = _np(wall.cast(pa.timestamp("s")).cast(pa.int64()))
    except pa.ArrowInvalid:
        local, real = _one_by_one(wall)
        good &= real
    offset = _np(_offset(zone))
    local = local - EPOCH_UNIX_S
    rule = (
        'must be a time like "2018-08-01T12:30:00" (ISO 8601); written otherwise, say how: '
        'pattern = "%d.%m.%Y %H:%M:%S"'
    )
    return Times(local - offset, local, present, [(present & ~good, rule)])


def _part(parts: pa.Array, name: str) -> pa.Array:
    return pc.struct_field(parts, name)


def _or(array: pa.Array, default: str) -> pa.Array:
    return pc.if_else(pc.equal(array, ""), default, array)


def _offset(zone: pa.Array) -> pa.Array:
    """Seconds east of UTC of "Z", "+02:00" or "-0530"; 0 for none."""
    plain = pc.replace_substring(_or(pc.replace_substring(zone, "Z", ""), "+0000"), ":", "")
    hours = pc.utf8_slice_codeunits(plain, 1, 3).cast(pa.int64())
    minutes = pc.utf8_slice_codeunits(plain, 3, 5).cast(pa.int64())
    size = pc.add(pc.multiply(hours, 3600), pc.multiply(minutes, 60))
    return pc.if_else(pc.starts_with(plain, "-"), pc.negate(size), size)


def _one_by_one(wall: pa.Array) -> tuple[npt.NDArray[np.int64], Mask]:
    """Slow road, taken when some day does not exist: finds which."""
    seconds = np.zeros(len(wall), np.int64)
    real = np.ones(len(wall), np.bool_)
    for i, text in enumerate(wall.to_pylist()):
        try:
            moment = dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
            seconds[i] = int(moment.timestamp())
        except ValueError:
            real[i] = False
    return seconds, real


def _np(array: pa.Array) -> npt.NDArray[Any]:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    out: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return out
