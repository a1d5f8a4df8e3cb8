# SPDX-License-Identifier: Apache-2.0
"""Columns of a file as integers, whole columns at a time.

Every parser takes a flat column (:func:`tinyfin.data.cells.flat`) and returns ``Parsed``: int64
values, which of them are there, and for each rule that some rows break, a mask of those rows. A
broken row's value is undefined.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.data.cells import Ints, Mask, by_value, mapped, texts, to_mask, to_numpy
from tinyfin.data.numerals import ANY, CONTEXT, THOUSANDS, Style, is_ambiguous, number

__all__ = [
    "MAX_AMOUNT_MINOR",
    "Parsed",
    "amounts",
    "codes",
    "floats",
    "integers",
    "labels",
    "one_hot",
    "scaled",
    "wholes",
]

MAX_AMOUNT_MINOR = 10**12 - 1
"""Largest amount a terminal can send: DE4 has 12 digits."""

_NEAR = 1e-4  # minor units; doubles of 12 digits are nearer to what they mean
_EXPONENT_ONLY = re.compile(r"^[^A-Za-z]*[0-9][eE][+-]?[0-9]+[^A-Za-z]*$")
_WORDS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}


class Parsed(NamedTuple):
    """int64[n] values, bool[n] present, and (bool[n], rule) per rule that some rows break."""

    values: Ints
    present: Mask
    broken: list[tuple[Mask, str]]


def _each(
    array: pa.Array,
    what: str,
    convert: Callable[[Decimal], int | str],
    style: Style,
    largest: int = 0,
    for_text: str = "",
) -> Parsed:
    """``convert`` of every number of a column of text or decimals, once per distinct one.

    ``largest``: where no option says what a point is, and 1.500 may mean as much as this, it is
    refused. ``for_text``: what to do with a value that holds letters and is no number.
    """
    if pa.types.is_decimal(array.type):
        return Parsed(*by_value(array, convert))
    if not pa.types.is_string(array.type):
        present = to_mask(array.is_valid())
        broken = [(present, f"must be {what}, not of the type {array.type}")]
        return Parsed(np.zeros(len(array), np.int64), present, broken)
    ambiguous = largest > 0 and is_ambiguous(array.unique(), style)

    def read(word: str) -> int | str:
        value = number(word, style)
        if isinstance(value, str):
            named = for_text and re.search(r"[^\W\d_]", word) and not _EXPONENT_ONLY.search(word)
            return f"must be {what}{f'; {for_text}' if named else f': {value}'}"
        if ambiguous and re.match(THOUSANDS, word) and abs(value * 1000) <= largest:
            return (
                f'must be {what}: "." may be the decimal mark or group thousands; say which: '
                'decimal = "." or strip = "."'
            )
        return convert(value)

    return Parsed(*by_value(array, read))


def integers(
    array: pa.Array,
    low: int,
    high: int,
    what: str = "a whole number",
    style: Style = ANY,
    *,
    for_text: str = "",
) -> Parsed:
    """Whole numbers within ``low..high``; a ``high`` beyond int64 gives uint64 bit patterns.
    ``for_text``: what to do with a value that holds letters."""
    present = to_mask(array.is_valid())
    rule = f"must be {what}, {low}..{high}"
    if pa.types.is_null(array.type):
        return Parsed(np.zeros(len(array), np.int64), present, [])
    if pa.types.is_string(array.type):
        if _all_match(array, r"-?[0-9]{1,18}"):
            array = array.cast(pa.int64())
        else:
            array = mapped(array, {"true": "1", "false": "0"})
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if pa.types.is_integer(array.type):
        values = to_numpy(array)
        return Parsed(_as_int64(values), present, [(present & _outside(values, low, high), rule)])
    if pa.types.is_floating(array.type):
        numbers = to_numpy(array)
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
        fine = _spacing(numbers) <= 1
        values = np.where(whole & fine, numbers, 0).astype(np.int64)
        return Parsed(
            values,
            present,
            [
                (present & ~whole, f"must be {what}"),
                (present & whole & ~fine, _coarse(array, "whole numbers")),
                (present & whole & fine & _outside(values, low, high), rule),
            ],
        )

    def convert(value: Decimal) -> int | str:
        nearest = value.to_integral_value(ROUND_HALF_EVEN, CONTEXT)
        return int(nearest) if nearest == value and low <= nearest <= high else rule

    return _each(array, what, convert, style, high, for_text)


def _all_match(array: pa.Array, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(array, f"^(?:{pattern})$")).as_py() is not False


def _as_int64(values: npt.NDArray[np.integer]) -> Ints:
    return np.asarray(values.view(np.int64) if values.dtype == np.uint64 else values, np.int64)


def _outside(values: npt.NDArray[np.integer], low: int, high: int) -> Mask:
    outside = np.zeros(len(values), np.bool_)
    kind = np.iinfo(values.dtype)
    if low > kind.min:
        outside |= values < low
    if high < kind.max:
        outside |= values > high
    return outside


def _spacing(numbers: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """From each float to the next larger one of its type."""
    sizes = np.where(np.isfinite(numbers), np.abs(numbers), 0)
    return np.asarray(np.spacing(sizes.astype(numbers.dtype)))


def _coarse(array: pa.Array, what: str) -> str:
    return (
        f"too large for a {array.type.bit_width}-bit floating-point number to distinguish {what}; "
        "store the column as decimal, integer or 64-bit float"
    )


def amounts(
    array: pa.Array, exponent: int | None, style: Style = ANY, *, signed: bool = False
) -> Parsed:
    """Amounts in minor units; ``exponent`` is that of major units, None for minor ones.

    A number in major units is rounded to minor ones, and refused where it is more than 1e-4 minor
    units away from one: what is left of floats is less. Amounts are 0..MAX_AMOUNT_MINOR, with
    ``signed`` of both signs.
    """
    low = -MAX_AMOUNT_MINOR if signed else 0
    if exponent is None:
        return integers(array, low, MAX_AMOUNT_MINOR, "an amount in whole minor units", style)
    scale = 10**exponent
    if pa.types.is_floating(array.type):
        present = to_mask(array.is_valid())
        major = floats(array, style).values.view(np.float64)
        inside = (major >= low / scale) & (major <= MAX_AMOUNT_MINOR / scale)
        minor = np.rint(np.where(inside, major, 0.0) * scale)
        exact = np.abs(np.where(inside, major, 0.0) - minor / scale) <= _NEAR / scale
        fine = _spacing(to_numpy(array)) <= 1 / scale
        return Parsed(
            minor.astype(np.int64),
            present,
            [
                (present & ~inside, _amount_range(exponent)),
                (present & inside & ~fine, _coarse(array, f"amounts with {exponent} decimals")),
                (present & inside & fine & ~exact, _too_fine(exponent)),
            ],
        )
    if pa.types.is_integer(array.type) or pa.types.is_null(array.type):
        largest = MAX_AMOUNT_MINOR // scale
        major_units = integers(array, low and -largest, largest, "an amount in major units")
        outside = np.any([mask for mask, _ in major_units.broken] or [~major_units.present], axis=0)
        return major_units._replace(values=np.where(outside, 0, major_units.values) * scale)

    def convert(value: Decimal) -> int | str:
        exact = value.scaleb(exponent, CONTEXT)
        minor = exact.to_integral_value(ROUND_HALF_EVEN, CONTEXT)
        if not low <= minor <= MAX_AMOUNT_MINOR:
            return _amount_range(exponent)
        return int(minor) if abs(exact - minor) <= _NEAR else _too_fine(exponent)

    largest = 0 if exponent == 3 else MAX_AMOUNT_MINOR
    return _each(array, 'an amount like "12.34"', convert, style, largest)


def _amount_range(exponent: int) -> str:
    largest = MAX_AMOUNT_MINOR // 10**exponent
    return (
        f"an amount is 0..{largest} in major units (DE4); a refund is known by its type (if the "
        'file writes it as a negative amount: negative = "refund")'
    )


def _too_fine(exponent: int) -> str:
    return (
        f'at most {exponent} decimals (unit = "major", exponent = {exponent}); round amounts to '
        "whole minor units at their source"
    )


def floats(array: pa.Array, style: Style = ANY) -> Parsed:
    """The bit pattern of the float64 that is nearest to each number.

    A float32 is read as the shortest decimal that it is nearest to: the one that was written.
    """
    numbers: npt.NDArray[np.generic] | None = None
    if pa.types.is_string(array.type) and style.mark == "." and _all_match(array, style.plain):
        numbers = to_numpy(array.cast(pa.float64()))
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        numbers = to_numpy(array)
        if array.type == pa.float32():
            numbers = numbers.astype(str)
    if numbers is None:
        return _each(array, "a number", _bits, style)
    values = numbers.astype(np.float64)
    present = to_mask(array.is_valid())
    return Parsed(
        values.view(np.int64), present, [(present & ~np.isfinite(values), "must be a number")]
    )


def _bits(value: Decimal) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def scaled(array: pa.Array, factor: float, low: int, high: int, style: Style = ANY) -> Parsed:
    """Numbers times ``factor``, rounded to the nearest whole one, within ``low..high``."""
    found = floats(array, style)
    values = found.values.view(np.float64)
    whole = np.rint(np.where(np.isfinite(values), values, 0.0) * factor)
    inside = (whole >= low) & (whole <= high) & (np.abs(whole) < 2.0**63)
    outside = found.present & ~inside
    found.broken.append((outside, f"times scale = {factor:g} must be {low}..{high}"))
    return found._replace(values=np.where(inside, whole, 0.0).astype(np.int64))


_MOST = 2**63 - 1
_MOST_FLOAT = 2.0**63 - 1024
"""The float64 below it."""


def wholes(array: pa.Array, what: str, style: Style = ANY) -> Parsed:
    """Numbers without their fractions, rounded down; what does not fit int64 is at its ends."""
    if pa.types.is_string(array.type) and all(
        _all_match(array, form) for form in (style.plain, "[0-9]{1,18}(?:[^0-9].*)?")
    ):
        array = pc.replace_substring_regex(array, "[^0-9].*$", "").cast(pa.int64())
    present = to_mask(array.is_valid())
    if pa.types.is_integer(array.type):
        values = to_numpy(array)
        if values.dtype == np.uint64:
            values = np.minimum(values, np.uint64(_MOST))
        return Parsed(values.astype(np.int64), present, [])
    if pa.types.is_floating(array.type):
        numbers = to_numpy(array).astype(np.float64)  # a float32 next to 2^63 is 2^63 itself
        finite = np.isfinite(numbers)
        values = np.floor(np.clip(np.where(finite, numbers, 0), -_MOST_FLOAT, _MOST_FLOAT))
        return Parsed(values.astype(np.int64), present, [(present & ~finite, f"must be {what}")])

    def convert(value: Decimal) -> int:
        floor = int(value.to_integral_value(ROUND_FLOOR, CONTEXT))
        return max(-_MOST, min(floor, _MOST))

    return _each(array, what, convert, style)


def codes(
    array: pa.Array,
    names: Sequence[str] | Mapping[str, int],
    values: Mapping[str, str | int] | None,
    *,
    by_number: bool = False,
) -> Parsed:
    """Index into ``names``, or the code that they give, after translation by ``values``;
    ``by_number`` takes the code too."""
    index = dict(names) if isinstance(names, Mapping) else {n: i for i, n in enumerate(names)}
    last = max(index.values())
    if by_number:
        index |= {str(i): i for i in range(last + 1)}
    numbers = f" or 0..{last}" if by_number else ""
    rule = (
        f"must be one of {', '.join(names)}{numbers}; "
        "translate other spellings with values = {...}"
    )
    return Parsed(*by_value(texts(mapped(array, values)), lambda word: index.get(word, rule)))


def labels(array: pa.Array, style: Style = ANY) -> Parsed:
    """1 for fraud, 0 for genuine, as numbers, booleans, or words for yes and no."""
    rule = "must be 0 (genuine), 1 (fraud) or empty; translate with values = {...}"

    def convert(word: str) -> int | str:
        value = _WORDS.get(word.lower(), number(word, style))
        return int(value) if value in (0, 1) else rule

    return Parsed(*by_value(texts(array), convert))


def one_hot(columns: Sequence[pa.Array]) -> Parsed:
    """Which of columns of 0 and 1 is 1, from 0; absent where none is. Two are one too many."""
    chosen = np.zeros(len(columns[0]), np.int64)
    count = np.zeros(len(columns[0]), np.int64)
    odd = np.zeros(len(columns[0]), np.bool_)
    for i, column in enumerate(columns):
        exact = integers(column, 0, 1)
        for mask, _ in exact.broken:
            odd |= mask
        one = exact.present & (exact.values == 1)
        chosen[one] = i
        count += one
    return Parsed(
        chosen,
        count > 0,
        [(odd, "must be 0 or 1"), (count > 1, "must have a single 1 among its columns")],
    )
