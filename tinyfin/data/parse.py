# SPDX-License-Identifier: Apache-2.0
"""Columns of a file as integers, whole columns at a time.

Every parser takes the source column and returns ``Parsed``: int64 values, which of them are there,
and for each rule that some rows break, a mask of those rows. A broken row's value is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "MAX_AMOUNT_MINOR", "Parsed", "amounts", "below_zero", "codes", "flat", "integers", "joined",
    "magnitudes", "mapped", "one_hot", "over_words", "plain_numbers", "scaled", "texts",
]  # fmt: skip

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

MAX_AMOUNT_MINOR = 10**12 - 1
"""Largest amount a terminal can send: DE4 has 12 digits."""

_I64_MIN, _I64_MAX = -(2**63), 2**63 - 1


class Parsed(NamedTuple):
    """int64[n] values, bool[n] present, and (bool[n], rule) per rule that some rows break."""

    values: Ints
    present: Mask
    broken: list[tuple[Mask, str]]


def flat(column: pa.ChunkedArray) -> pa.Array:
    """One contiguous array, dictionaries decoded, text as ``string``, NaN as null."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.nulls(0)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array


def texts(array: pa.Array) -> pa.Array:
    """The values as people write them: whole floats lose their ``.0``, text its outer blanks."""
    kind = array.type
    if pa.types.is_floating(kind):
        small = pc.less(pc.abs(array), 2.0**53)
        whole = pc.and_(small, pc.equal(array, pc.floor(array)))
        ints = pc.cast(pc.if_else(whole, array, 0.0), pa.int64(), safe=False).cast(pa.string())
        return pc.if_else(whole, ints, array.cast(pa.string()))
    if not pa.types.is_string(kind):
        array = array.cast(pa.string())
    stripped = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.equal(stripped, ""), pa.scalar(None, pa.string()), stripped)


def joined(arrays: Sequence[pa.Array]) -> pa.Array:
    """Texts of several columns, one blank between them; nothing where one of them is empty."""
    return pc.binary_join_element_wise(*[texts(array) for array in arrays], " ")


def plain_numbers(array: pa.Array, strip: str | None, decimal: str | None) -> pa.Array:
    """Numbers as text without the characters of ``strip``, ``decimal`` as a point; what is no text
    stays as it is."""
    array = flat(array)
    if (strip is None and decimal is None) or not pa.types.is_string(array.type):
        return array
    for char in strip or "":
        array = pc.replace_substring(array, char, "")
    return texts(array if decimal is None else pc.replace_substring(array, decimal, "."))


def below_zero(array: pa.Array) -> Mask:
    """Which numbers, as numbers or as text, have a minus and are not zero."""
    if pa.types.is_string(array.type):
        return _mask(pc.match_substring_regex(texts(array), r"^-.*[1-9]"))
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.bool_)
    return _mask(pc.less(array, 0))


def magnitudes(array: pa.Array) -> pa.Array:
    """Numbers, as numbers or as text, without their minus."""
    if pa.types.is_string(array.type):
        return pc.replace_substring_regex(texts(array), r"^-", "")
    return array if pa.types.is_null(array.type) else pc.abs(array)


def translated(array: pa.Array, values: Mapping[str, str | int]) -> pa.Array:
    """Text with the file's spellings replaced; ``"*"`` stands for every spelling not listed."""
    encoded = texts(array).dictionary_encode()
    words = encoded.dictionary.to_pylist()
    default = values.get("*")
    new = [str(values.get(word, word if default is None else default)) for word in words]
    return pa.array(new, pa.string()).take(encoded.indices)


def integers(array: pa.Array, low: int, high: int, what: str = "a whole number") -> Parsed:
    """Whole numbers within ``low..high``; a ``high`` beyond int64 gives uint64 bit patterns."""
    present = _mask(array.is_valid())
    kind = array.type
    n = len(array)
    if pa.types.is_null(kind):
        return Parsed(np.zeros(n, np.int64), present, [])
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return _ranged(_numpy(array), present, low, high, what, [])
    if pa.types.is_floating(kind):
        floats = _numpy(array).astype(np.float64)
        whole = (floats == np.floor(floats)) & (np.abs(floats) < 2.0**63)
        broken = [(present & ~whole, f"must be {what}")]
        values = np.where(whole, floats, 0.0).astype(np.int64)
        return _ranged(values, present & whole, low, high, what, broken, present)
    if pa.types.is_string(kind) or pa.types.is_decimal(kind):
        return _text_integers(texts(array), low, high, what)
    return Parsed(np.zeros(n, np.int64), present, [(present, f"must be {what}, not {kind}")])


def _ranged(
    values: npt.NDArray[Any],
    check: Mask,
    low: int,
    high: int,
    what: str,
    broken: list[tuple[Mask, str]],
    present: Mask | None = None,
) -> Parsed:
    outside = np.zeros(len(values), np.bool_)
    kind = np.iinfo(values.dtype) if values.dtype.kind in "iu" else np.iinfo(np.uint8)
    if low > kind.min:
        outside |= values < low
    if high < kind.max:
        outside |= values > high
    broken.append((check & outside, f"must be {what}, {low}..{high}"))
    as_int = values.view(np.int64) if values.dtype == np.uint64 else values.astype(np.int64)
    return Parsed(as_int, check if present is None else present, broken)


def _text_integers(array: pa.Array, low: int, high: int, what: str) -> Parsed:
    present = _mask(array.is_valid())
    try:  # nearly always all rows are good, and this is the quick way
        quick = _numpy(array.cast(pa.int64() if high <= _I64_MAX else pa.uint64()))
        return _ranged(quick, present, low, high, what, [])
    except pa.ArrowInvalid:
        pass
    plain = _mask(pc.match_substring_regex(array, r"^[+-]?[0-9]{1,18}(\.0+)?$"))
    digits = pc.replace_substring_regex(array, r"^\+|\.0+$", "")
    digits = pc.if_else(pa.array(plain), digits, "0")
    values = _numpy(digits.cast(pa.int64()))
    broken: list[tuple[Mask, str]] = []
    odd = present & ~plain
    if odd.any():
        wide = np.zeros(len(array), np.bool_)
        for i in np.flatnonzero(odd).tolist():
            number = _python_int(array[i].as_py())
            if number is not None and low <= number <= high:
                values[i] = number if number <= _I64_MAX else number - 2**64
                wide[i] = True
        broken.append((odd & ~wide, f"must be {what}, {low}..{high}"))
    return _ranged(values, plain, low, min(high, _I64_MAX), what, broken, present)


def _python_int(text: str) -> int | None:
    try:
        return int(text, 10) if len(text) <= 24 and "_" not in text else None
    except ValueError:
        return None


def amounts(array: pa.Array, exponent: int | None) -> Parsed:
    """Amounts in minor units, exactly; ``exponent`` is that of major units, None for minor ones.

    Text and decimals are converted digit by digit. A float is rounded to the exponent and refused
    if it is more than 1e-6 away from it. Amounts are 0..MAX_AMOUNT_MINOR.
    """
    if exponent is None:
        return integers(array, 0, MAX_AMOUNT_MINOR, "an amount in whole minor units")
    scale = 10**exponent
    kind = array.type
    if pa.types.is_floating(kind):
        return _float_amounts(array, exponent)
    if pa.types.is_string(kind) or pa.types.is_decimal(kind):
        return _text_amounts(texts(array), exponent)
    major = integers(array, 0, MAX_AMOUNT_MINOR // scale, "an amount in major units")
    fits = ~np.any([mask for mask, _ in major.broken] or [~major.present], axis=0)
    return major._replace(values=np.where(fits, major.values, 0) * scale)


def _float_amounts(array: pa.Array, exponent: int) -> Parsed:
    present = _mask(array.is_valid())
    major = _numpy(array).astype(np.float64)
    if array.type.bit_width < 64:
        # the shortest decimal that reads back as the same float32 is what was written
        major = _numpy(array).astype(str).astype(np.float64)
    scale = 10**exponent
    inside = (major >= 0) & (major <= MAX_AMOUNT_MINOR / scale)
    minor = np.rint(np.where(inside, major, 0.0) * scale)
    exact = np.abs(np.where(inside, major, 0.0) - minor / scale) <= 1e-6
    broken = [
        (present & ~inside, _amount_range(exponent)),
        (present & inside & ~exact, _too_fine(exponent)),
    ]
    return Parsed(minor.astype(np.int64), present, broken)


def _text_amounts(array: pa.Array, exponent: int) -> Parsed:
    present = _mask(array.is_valid())
    good = _mask(pc.match_substring_regex(array, r"^[+-]?[0-9]{1,18}(\.[0-9]*)?$"))
    negative = good & _mask(pc.match_substring_regex(array, r"^-.*[1-9]"))
    safe = pc.if_else(pa.array(good), array, "0")
    safe = pc.replace_substring_regex(safe, r"^[+-]", "")
    parts = pc.extract_regex(safe, r"^(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]*))?$")
    whole = _numpy(pc.struct_field(parts, "whole").cast(pa.int64()))
    part = pc.utf8_rpad(pc.fill_null(pc.struct_field(parts, "part"), ""), 18, "0")
    fine = good & ~_mask(pc.match_substring_regex(part, rf"^[0-9]{{{exponent}}}0*$"))
    kept = pc.utf8_slice_codeunits(part, 0, exponent) if exponent else None
    minor = _numpy(kept.cast(pa.int64())) if kept is not None else np.zeros(len(array), np.int64)
    scale = 10**exponent
    inside = whole <= MAX_AMOUNT_MINOR // scale
    broken = [
        (present & ~good, f'must be an amount like "12.34"{_AMOUNT_HINT}'),
        (good & (negative | ~inside), _amount_range(exponent)),
        (fine & inside, _too_fine(exponent)),
    ]
    return Parsed(np.where(inside, whole, 0) * scale + minor, present, broken)


_AMOUNT_HINT = '; other signs are taken off by strip = "$," and decimal = ","'


def _amount_range(exponent: int) -> str:
    largest = MAX_AMOUNT_MINOR // 10**exponent
    return (
        f"an amount is 0..{largest} in major units (DE4); a refund is told by its type (if the "
        'file writes it as a negative amount: negative = "refund")'
    )


def _too_fine(exponent: int) -> str:
    return f'at most {exponent} decimals (unit = "major", exponent = {exponent})'


def codes(
    array: pa.Array,
    names: Sequence[str],
    values: Mapping[str, str | int] | None,
    *,
    by_number: bool = False,
) -> Parsed:
    """Index into ``names``, after translation by ``values``; ``by_number`` takes the index too."""
    encoded = (texts(array) if values is None else translated(array, values)).dictionary_encode()
    index = {name: i for i, name in enumerate(names)}
    if by_number:
        index |= {str(i): i for i in range(len(names))}
    lookup = np.array([index.get(word, -1) for word in encoded.dictionary.to_pylist()] or [-1])
    present = _mask(encoded.is_valid())
    found = lookup.astype(np.int64)[_numpy(encoded.indices)]
    numbers = f" or 0..{len(names) - 1}" if by_number else ""
    rule = (
        f"must be one of {', '.join(names)}{numbers}; "
        "translate other spellings with values = {...}"
    )
    return Parsed(found, present, [(present & (found < 0), rule)])


def scaled(array: pa.Array, factor: float, low: int, high: int) -> Parsed:
    """Numbers times ``factor``, rounded to the nearest whole one, within ``low..high``."""
    present = _mask(array.is_valid())
    kind = array.type
    if pa.types.is_string(kind):
        values = _floats(array)
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        values = _numpy(array.cast(pa.float64(), safe=False))
    else:
        values = np.full(len(array), np.nan)
    number = np.isfinite(values)
    whole = np.rint(np.where(number, values, 0.0) * factor)
    inside = (whole >= low) & (whole <= high) & (np.abs(whole) < 2.0**63)
    broken = [
        (present & ~number, "must be a number"),
        (present & number & ~inside, f"times scale = {factor:g} must be {low}..{high}"),
    ]
    return Parsed(np.where(inside, whole, 0.0).astype(np.int64), present, broken)


def _floats(array: pa.Array) -> npt.NDArray[np.float64]:
    """Text as numbers; NaN where it is none."""

    def number(word: str) -> float:
        try:
            return float(word) if "_" not in word else float("nan")
        except ValueError:
            return float("nan")

    encoded = texts(array).dictionary_encode()
    table = np.array([number(word) for word in encoded.dictionary.to_pylist()] or [0.0])
    return np.asarray(table[_numpy(encoded.indices)], np.float64)


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
    return Parsed(chosen, count > 0, [
        (odd, "must be 0 or 1"), (count > 1, "must have a single 1 among its columns")
    ])  # fmt: skip


def mapped(array: pa.Array, values: Mapping[str, str | int] | None) -> pa.Array:
    """``array`` after translation, or as it is when there is nothing to translate."""
    return array if values is None else translated(array, values)


def over_words(array: pa.Array, convert: Callable[[str], int]) -> tuple[Ints, Mask]:
    """``convert`` once per distinct text; int64 bit patterns and which rows are present."""
    encoded = texts(array).dictionary_encode()
    words = encoded.dictionary.to_pylist()
    table = np.array([convert(word) for word in words] or [0], np.uint64).view(np.int64)
    return table[_numpy(encoded.indices)], _mask(encoded.is_valid())


def _numpy(array: pa.Array) -> npt.NDArray[Any]:
    """Values with 0 where there is none, writable."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.null_count:
        array = pc.fill_null(
            array,
            pa.scalar(0, array.type) if not pa.types.is_boolean(array.type) else pa.scalar(False),
        )
    out: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return out if out.flags.writeable else out.copy()


def _mask(array: pa.Array) -> Mask:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    out: Mask = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return out.astype(np.bool_)
