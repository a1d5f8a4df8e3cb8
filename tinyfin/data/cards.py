# SPDX-License-Identifier: Apache-2.0
"""Card numbers in any spelling: refused where they fill a column, hidden wherever they are.

A card number has the digits, 13 to 19 of them, that an issuer's prefix asks for, and passes the
check of ISO/IEC 7812-1 (Luhn).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.data.cells import UnreadableType, flat, texts
from tinyfin.errors import DataError

__all__ = ["CardGuard", "has_card_shape", "hide_pans", "is_card", "is_luhn"]

_ISSUERS = re.compile(
    r"""
      4(?:\d{12}|\d{15}|\d{17,18})                                      # Visa
    | (?:5[1-5]|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d*(?<=^\d{16})  # Mastercard
    | 3[47]\d{13}                                                       # American Express
    | 3(?:0[0-5]|09|6|8|9)\d{11,17}                                     # Diners Club
    | 35\d{14,17}                                                       # JCB, RuPay
    | (?:5[0678]|6\d)\d{11,17}            # Maestro, Discover, UnionPay, RuPay, Elo, Verve
    | (?:220[0-5]|8[12]\d\d|70\d\d)\d{12,15}                            # Mir, UnionPay, fuel cards
    | (?:8600|9792|9860)\d{12}                                          # UzCard, Troy, Humo
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPED = r"%(?:20|2[C-Fc-f]|0[9ADad])"  # a mark between digits, as an address carries it
_RUN = re.compile(rf"\d+(?:(?:{_ESCAPED}|[\W_]{{1,3}}|\s{{4,16}})\d+)*")
_GROUP = re.compile(rf"(?:{_ESCAPED})?(\d+)")
_EXPIRY = re.compile(r"(?:0[1-9]|1[0-2])\d\d|\d\d(?:0[1-9]|1[0-2])", re.ASCII)
_FLOAT = re.compile(r"(?<![\w.])(\d)[.,](\d{1,18})[eE]\+?(\d{1,2})(?!\w)")
_LONG = (
    rf"(?:[0-9](?:{_ESCAPED}|[^0-9A-Za-z]{{0,3}}|\s{{4,16}})){{12}}[0-9]"
    r"|[0-9][.,][0-9]+[eE]\+?1[2-8]|[^\x00-\x7F]"
)
_SAMPLE = 20_000
_ENOUGH = 3


def is_luhn(digits: str) -> bool:
    """Whether a string of digits passes the check of ISO/IEC 7812-1 (Luhn)."""
    total = 0
    for i, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        if i % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Whether a string of digits has an issuer's prefix and length, and passes Luhn."""
    return _ISSUERS.fullmatch(digits) is not None and is_luhn(digits)


def has_card_shape(text: str) -> bool:
    """Whether a text holds digits with an issuer's prefix and length, whatever Luhn says."""
    return any(_ISSUERS.fullmatch(digits) for _, _, digits in _spelled(text))


def _spelled(text: str) -> Iterator[tuple[int, int, str]]:
    """What may be a card number by its length: begin, end, digits; longer ones first in a run."""
    if text.isascii() and text.isdigit():
        for digits in _of_one_group(text):
            yield 0, len(text), digits
        return
    for match in _FLOAT.finditer(text):
        power = int(match[3])
        digits = match[1] + match[2]
        if len(digits) <= power + 1 <= 19:
            yield match.start(), match.end(), digits.ljust(power + 1, "0")
    for run in _RUN.finditer(text):
        groups = [
            (run.start() + m.start(1), run.start() + m.end(1), _ascii(m[1]))
            for m in _GROUP.finditer(run[0])
        ]
        between = [text[a[1] : b[0]] for a, b in pairwise(groups)]
        if len(groups) == 2 and between[0] in (".", ","):
            groups.pop()  # a number with a fraction
        for first in range(len(groups)):
            for last in reversed(range(first, len(groups))):
                digits = "".join(group[2] for group in groups[first : last + 1])
                if first == last:
                    for one in _of_one_group(digits):
                        yield groups[first][0], groups[last][1], one
                    continue
                if min(len(group[2]) for group in groups[first:last]) < 3 and (
                    last - first < len(groups) - 1 or len(set(between)) > 1
                ):
                    continue  # a date and a time
                if 13 <= len(digits) <= 19:
                    yield groups[first][0], groups[last][1], digits


def _of_one_group(digits: str) -> Iterator[str]:
    """What digits without a mark may be: a card number, zeros before it, and one whose expiry date
    (MMYY or YYMM) is written behind it."""
    digits = digits.lstrip("0")
    if 13 <= len(digits) <= 19:
        yield digits
    if 17 <= len(digits) <= 23 and _EXPIRY.fullmatch(digits[-4:]):
        yield digits[:-4]


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    if isinstance(array, pa.ChunkedArray):
        for chunk in array.chunks:
            yield from _leaves(chunk)
    elif pa.types.is_map(array.type):
        yield from (*_leaves(array.keys), *_leaves(array.items))
    elif pa.types.is_struct(array.type):
        for part in array.flatten():
            yield from _leaves(part)
    elif pa.types.is_nested(array.type) and hasattr(array, "values"):
        yield from _leaves(array.values)
    else:
        yield array


def _ascii(digits: str) -> str:
    return "".join(str(unicodedata.digit(char)) for char in digits)


def hide_pans(text: str) -> str:
    """``text`` with every card number in it replaced, whatever is between its digits."""
    spans = sorted((a, b) for a, b, digits in _spelled(text) if is_card(digits))
    out, at = [], 0
    for begin, end in spans:
        if begin >= at:
            out += [text[at:begin], "(hidden: looks like a card number)"]
        at = max(at, end)
    return "".join([*out, text[at:]])


class CardGuard:
    """Raises DataError when a column of a file turns out to hold card numbers.

    That is when more than half of the values that have a card number's prefix and length pass Luhn,
    where one of ten would by chance; three of them, or half of all values, are enough. Counts are
    kept from chunk to chunk, so that a small last chunk is not judged alone. Without ``few`` fewer
    than three are never enough: where values come one by one, the first may be one by chance.
    """

    def __init__(self, file: str, *, few: bool = True) -> None:
        self.file, self._few = file, few
        self._counts: dict[str, npt.NDArray[np.float64]] = {}

    def check_table(self, table: pa.Table) -> None:
        """Look at every column, at the fields and items of nested ones too."""
        for name in table.column_names:
            for array in _leaves(table.column(name).combine_chunks()):
                with suppress(UnreadableType):
                    self.check(flat(array), name)

    def check(self, array: pa.Array, name: str) -> None:
        """Look at the next values of the flat column ``name``."""
        words = (array if pa.types.is_string(array.type) else texts(array)).unique().drop_null()
        long = words.filter(pc.match_substring_regex(words, _LONG))
        share = min(1.0, _SAMPLE / max(1, len(long)))
        if share < 1:
            long = long.take(np.linspace(0, len(long) - 1, _SAMPLE).astype(np.int64))
        self.check_words(long.to_pylist(), name, share * len(words))

    def check_words(self, words: Iterable[str], name: str, values: float) -> None:
        """Look at words, each once, that may be card numbers by their length; ``values``: how many
        there are, with the shorter ones."""
        likely, found = 0, list[str]()
        for word in words:
            digits = [x for _, _, x in _spelled(word) if _ISSUERS.fullmatch(x)]
            likely += bool(digits)
            if any(map(is_luhn, digits)):
                found.append(word)
        counts = self._counts.setdefault(name, np.zeros(3))
        counts += (len(found), likely, values)
        cards, likely_ones, all_values = counts.tolist()
        enough = cards >= _ENOUGH or (self._few and 2 * cards > all_values)
        if not found or not enough or 2 * cards <= likely_ones:
            return
        shape = re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "#", re.sub(r"\s", " ", found[0])))[:40]
        raise DataError(
            f"{self.file}, column {name}: holds card numbers ({cards:.0f} of {likely_ones:.0f} "
            "values that have an issuer's prefix and a card number's length pass the Luhn check; "
            f"they are written like {shape!r}). Card numbers must not be stored readable (PCI DSS "
            "3.5.1) and tinyfin takes none: replace them at their source by a keyed 64-bit hash or "
            "another token. The values are not shown."
        )
