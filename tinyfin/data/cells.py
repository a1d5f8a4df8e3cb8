# SPDX-License-Identifier: Apache-2.0
"""Columns of any Arrow type, brought to few types, and the spelling of their values.

The same data gives the same cells from every container: a CSV file, a Parquet or an Arrow file.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.config.columns import EMPTY
from tinyfin.data.numerals import ANY, number

__all__ = [
    "EMPTY",
    "Ints",
    "Mask",
    "UnreadableType",
    "by_value",
    "flat",
    "inexact_ids",
    "joined",
    "mapped",
    "texts",
    "to_mask",
    "to_numpy",
]

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_FLOAT = r"[+-]?[0-9](?:\.[0-9]+E[0-9]{1,2}|(?:[.,][0-9]*)?[eE]\+[0-9]{2,3})"
_ZERO = "0E-[0-9]{1,2}"
"""Of a decimal with seven digits and more behind its point, as Python and pandas spell it."""


class UnreadableType(ValueError):
    """A column of a type whose values are no number, text or time."""


def flat(column: pa.ChunkedArray) -> pa.Array:
    """One contiguous array: null, bool, integers, float32, float64, decimals, text, or times.

    Dictionaries and run ends are decoded. NaN and the words of ``EMPTY`` become null, text loses
    its outer blanks. Bytes are text where they are printable UTF-8, else their hexadecimal digits.
    Raises UnreadableType.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.nulls(0)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if isinstance(array.type, pa.BaseExtensionType):
        is_uuid = array.type.extension_name == "arrow.uuid"
        array = array.storage
        if is_uuid:
            array = _spelled(array, lambda value: str(uuid.UUID(bytes=value)))
    kind = array.type
    if kind in (pa.large_string(), pa.string_view()):
        array = array.cast(pa.string())
    if kind in (pa.binary(), pa.large_binary(), pa.binary_view()) or (
        pa.types.is_fixed_size_binary(kind)
    ):
        array = _spelled(array, _text_or_hex)
    if pa.types.is_string(array.type):
        array = pc.utf8_trim_whitespace(array)
        empty = pc.is_in(array, value_set=pa.array(EMPTY))
        return pc.if_else(empty, pa.scalar(None, pa.string()), array)
    if kind in (pa.float32(), pa.float64()):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, kind), array)
    known = (
        pa.types.is_null,
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_decimal,
        pa.types.is_timestamp,
        pa.types.is_date,
        pa.types.is_time,
    )
    if any(test(kind) for test in known):
        return array
    if kind == pa.float16():
        raise UnreadableType("16-bit floats, which hold three digits; store 64-bit floats")
    raise UnreadableType(
        f"values of the type {kind}; store what you need of them in a column of its own, as "
        "numbers, text or times"
    )


def _spelled(array: pa.Array, spell: Callable[[bytes], str]) -> pa.Array:
    values = array.cast(pa.binary()).dictionary_encode()
    return pa.array(map(spell, values.dictionary.to_pylist()), pa.string()).take(values.indices)


def _text_or_hex(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()


def texts(array: pa.Array) -> pa.Array:
    """The spellings that distinguish the values of a flat column.

    A whole number is spelled without a fraction in every type: 12345, 12345.0 and 1.2345E4 are one
    value. Decimals lose the zeros at their end.
    """
    kind = array.type
    if pa.types.is_string(kind):
        return _without_fraction(array)
    if pa.types.is_floating(kind):
        whole = pc.and_(pc.less(pc.abs(array), 2.0**53), pc.equal(array, pc.floor(array)))
        ints = pc.cast(pc.if_else(whole, array, 0.0), pa.int64(), safe=False).cast(pa.string())
        return pc.if_else(whole, ints, array.cast(pa.string()))
    if pa.types.is_decimal(kind):
        values = array.cast(pa.decimal256(76, kind.scale)).dictionary_encode()
        words = (f"{value:f}" for value in values.dictionary.to_pylist())
        short = (word.rstrip("0").rstrip(".") if "." in word else word for word in words)
        return pa.array(short, pa.string()).take(values.indices)
    if pa.types.is_time(kind):
        return pc.replace_substring_regex(array.cast(pa.string()), r"\.0+$", "")
    return array.cast(pa.string())


def _without_fraction(array: pa.Array) -> pa.Array:
    if _any(pc.match_substring_regex(array, r"[0-9]\.0")):
        # 1.000 may be a thousand: whoever writes so keeps the spelling
        whole = pc.match_substring_regex(array, r"^[+-]?[0-9]+\.0+$")
        whole = pc.and_not(whole, pc.match_substring_regex(array, r"^[+-]?[0-9]{1,3}(\.0{3})+$"))
        array = pc.if_else(whole, pc.replace_substring_regex(array, r"\.0+$", ""), array)
    floats = pc.fill_null(pc.match_substring_regex(array, f"^(?:{_FLOAT}|{_ZERO})$"), False)
    if _any(floats):
        words = [_spelled_out(word) for word in array.filter(floats).to_pylist()]
        array = pc.replace_with_mask(array, floats, pa.array(words, pa.string()))
    return array


def _spelled_out(word: str) -> str:
    """The digits of a whole number with an exponent; the word, if it has lost some of them."""
    value = number(word, ANY)
    if isinstance(value, str) or value != value.to_integral_value() or abs(value) >= 2**53:
        return word
    return str(int(value))


def inexact_ids(array: pa.Array) -> list[tuple[Mask, str]]:
    """Rows of a flat column whose digits were lost before the file was written."""
    kind = array.type
    if pa.types.is_floating(kind):
        exact = 24 if kind == pa.float32() else 53
        lost = to_mask(pc.greater_equal(pc.abs(array), 2.0**exact))
        rule = (
            f"a {kind.bit_width}-bit floating-point number keeps an id below 2^{exact} only; store "
            "ids as integers or text"
        )
        return [(lost, rule)]
    if pa.types.is_string(kind):
        rule = (
            "a spreadsheet or a float has cut the digits of this id; export it again from its "
            "source, with the column as text"
        )
        return [(to_mask(pc.match_substring_regex(texts(array), f"(?:^| ){_FLOAT}(?: |$)")), rule)]
    return []


def without(array: pa.Array, words: Sequence[str]) -> pa.Array:
    """``array`` with null for every value that is written like one of ``words``; a time at midnight
    is written as its date too."""
    text = pc.replace_substring_regex(texts(array), r"[ T]00:00:00(?:[.]0+)?(?:Z|[+]00:?00)?$", "")
    return pc.if_else(pc.is_in(text, pa.array(words)), pa.scalar(None, array.type), array)


def joined(arrays: Sequence[pa.Array]) -> pa.Array:
    """Spellings of several columns, one blank between them; null where one of them is null."""
    return pc.binary_join_element_wise(*[texts(array) for array in arrays], " ")


def mapped(array: pa.Array, values: Mapping[str, str | int] | None) -> pa.Array:
    """``array`` with the file's spellings replaced by ``values``, as text; without, as it is.

    ``"*"`` means every spelling that is not listed, ``""`` for no value. True and TRUE are
    found as true.
    """
    if values is None:
        return array
    encoded = texts(array).dictionary_encode()
    words = texts(pa.array(values, pa.string())).to_pylist()
    table = dict(zip(words, values.values(), strict=True))

    def new(word: str) -> str:
        if word not in table and word.lower() in ("true", "false"):
            word = word.lower()
        return str(table.get(word, table.get("*", word)))

    found = pa.array(map(new, encoded.dictionary.to_pylist()), pa.string()).take(encoded.indices)
    return found.fill_null(str(table[""])) if "" in table else found


def by_value(
    array: pa.Array, convert: Callable[[Any], int | str]
) -> tuple[Ints, Mask, list[tuple[Mask, str]]]:
    """``convert`` once per distinct value: int64 bit patterns, and which rows are present.

    Where ``convert`` gives a text, it is the rule that the row breaks.
    """
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.decimal256(76, array.type.scale))
    encoded = array.dictionary_encode()
    found = [convert(value) for value in encoded.dictionary.to_pylist()]
    present, index = to_mask(encoded.is_valid()), to_numpy(encoded.indices)
    numbers = [0 if isinstance(x, str) else x % 2**64 for x in found] or [0]
    rules = {x: i for i, x in enumerate(dict.fromkeys(x for x in found if isinstance(x, str)))}
    broken: list[tuple[Mask, str]] = []
    if rules:
        rule = np.array([rules[x] if isinstance(x, str) else -1 for x in found])[index]
        broken = [(present & (rule == i), text) for text, i in rules.items()]
    return np.array(numbers, np.uint64).view(np.int64)[index], present, broken


def to_numpy(array: pa.Array) -> npt.NDArray[Any]:
    """Values with 0 where there is none, writable."""
    if array.null_count:
        zero = False if pa.types.is_boolean(array.type) else 0
        array = pc.fill_null(array, pa.scalar(zero, array.type))
    out: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return out if out.flags.writeable else out.copy()


def to_mask(array: pa.Array) -> Mask:
    """Booleans with False where there is none."""
    out: Mask = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return out.astype(np.bool_)


def _any(array: pa.Array) -> bool:
    return bool(pc.any(array).as_py())
