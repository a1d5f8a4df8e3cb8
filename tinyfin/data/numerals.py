# SPDX-License-Identifier: Apache-2.0
"""Numbers written as text: one reader for amounts, whole numbers, fractions and times.

    [sign] digits [mark digits]         12.34   .5   -7   with a decimal mark, "." if not given
    [sign] groups of three [...]        1'234.50   where ``strip`` names the mark of the groups
    digits E exponent                   1.25E7

Around it may be the characters of ``strip`` (a currency sign), a minus behind the number, and
parentheses, which mean a minus. Blanks of every kind are one blank, apostrophes one apostrophe.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "ANY",
    "CONTEXT",
    "NOT_A_NUMBER",
    "THOUSANDS",
    "Style",
    "has_decimals",
    "is_ambiguous",
    "number",
]

CONTEXT = Context(prec=120)
"""Exact for every number that :func:`number` returns."""

_GROUPING = frozenset(".,' _٬")
_FOLD = str.maketrans("\u2019\u2018\u02bc`\xb4\u2212\u2013", "'''''--")
_MAX_LENGTH = 64
_EXPONENT = re.compile(r"-?([0-9]+)(?:\.([0-9]*))?([eE])([+-]?[0-9]{1,3})")
THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$"
"""A number whose point may group thousands."""
NOT_A_NUMBER = "it is not a number; leave the field empty where there is no value"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_FOLD))


@dataclass(frozen=True)
class Style:
    """How a column writes numbers: the options ``strip`` and ``decimal`` of [data]."""

    strip: str = ""
    decimal: str | None = None

    @classmethod
    def of(cls, strip: str | None, decimal: str | None) -> Style:
        """The style that these options name."""
        return cls(_folded(strip or ""), decimal)

    @property
    def mark(self) -> str:
        """The decimal mark; empty where "." is taken off and no other mark is named."""
        return self.decimal or ("" if "." in self.strip else ".")

    @property
    def plain(self) -> str:
        """Regular expression of a number without anything around or between its digits."""
        mark = re.escape(self.mark)
        return rf"[+-]?(?:[0-9]+(?:{mark}[0-9]*)?|{mark}[0-9]+)" if mark else "[+-]?[0-9]+"


ANY = Style()
"""No option given."""


@lru_cache(maxsize=64)
def _compiled(style: Style) -> re.Pattern[str]:
    return re.compile(style.plain)


def number(word: str, style: Style) -> Decimal | str:
    """The value of ``word``, or in words why it has none."""
    if len(word) > _MAX_LENGTH:
        return "it is too long"
    value = _read(word, style)
    return _why_not(_core(word, style), style) if value is None else value


def _read(word: str, style: Style) -> Decimal | str | None:
    """The value of ``word``; in words why it has none, or None when it does not look like one."""
    if not _compiled(style).fullmatch(word):
        word = _core(word, style)
        for mark in sorted(_GROUPING & set(style.strip) - {style.mark}):
            tail = rf"(?:{re.escape(style.mark)}[0-9]*)?" if style.mark else ""
            if re.fullmatch(rf"-?[1-9][0-9]{{0,2}}(?:{re.escape(mark)}[0-9]{{3}})+{tail}", word):
                word = word.replace(mark, "")
        if style.mark != "." and "." in word:
            return None
        match = _EXPONENT.fullmatch(word.replace(style.mark, ".") if style.mark else word)
        if match:
            return _expanded(match)
        if not _compiled(style).fullmatch(word):
            return None
    return Decimal(word.replace(style.mark, ".") if style.mark else word)


def _core(word: str, style: Style) -> str:
    """``word`` without what may be around a number, a minus in front."""
    word = _folded(word).strip()
    ends = "".join(set(style.strip) - _GROUPING) + " "
    bare = word.strip(ends)
    in_parentheses = bare[:1] == "(" and bare[-1:] == ")"
    if in_parentheses:
        bare = bare[1:-1].strip(ends)
    if bare[:1] in ("-", "+"):
        sign, bare = bare[0], bare[1:].strip(ends)
    elif re.search(r"[0-9] *-$", bare):  # but 12.- is an even amount
        sign, bare = "-", bare[:-1].strip(ends)
    else:
        sign = "-" if in_parentheses else ""
        in_parentheses = False
    return word if in_parentheses else sign.replace("+", "") + bare


def _expanded(match: re.Match[str]) -> Decimal | str:
    """The value of a number with an exponent, unless its last digits seem to be cut.

    Excel and Oracle write 1.23457E+11 for 123456789012, C's %g 1.23457e+11, SAS 1.2345679E15 for a
    number of sixteen digits; programs that write the shortest exact number differ from each.
    """
    whole, part, letter, exponent = match.groups(default="")
    count, power = len((whole + part).strip("0")), int(exponent)
    if exponent[0] != "+":
        cut = power >= 12 and 5 <= count <= 8
    else:
        cut = letter == "E" or 5 <= count <= 6
    if cut and power > len(part):
        return (
            "its last digits are cut, as spreadsheets do; export it again with the column as "
            "number or text"
        )
    return Decimal(match.group()) if abs(power) <= 40 else "its exponent is out of reach"


def _why_not(word: str, style: Style) -> str:
    """The options under which ``word`` is a number; where there are none, what prevents
    it."""
    readings = _readings(word, style)
    if len(readings) == 1:
        return f"to read it: {_options(*readings[0])}"
    body = re.sub(r"(?<![0-9]) | (?![0-9])", "", word.removeprefix("-"))
    for char in body:
        if char in "0123456789" or (char == style.mark and body.count(char) == 1):
            continue
        name = "a blank" if char == " " else repr(char)
        if len(readings) == 2 and char in _GROUPING:
            groups, decimal = (_options(*reading) for reading in readings)
            return (
                f"it holds {name}; if {name} groups thousands: {groups}; if it is the decimal "
                f"mark: {decimal}"
            )
        if char == style.mark:
            return (
                f"it holds {name}, its decimal mark, twice; if {name} groups thousands: "
                f'strip = "{char}", decimal = "{"," if char == "." else "."}"'
            )
        if char in style.strip and char in _GROUPING:
            return (
                f"{name} (strip) must be between groups of three digits, before the decimal "
                f'mark; if {name} is the decimal mark: decimal = "{char}"'
            )
        if char in _GROUPING and style.mark:
            return (
                f'it holds {name}, but its decimal mark is "{style.mark}"; if {name} groups '
                f'thousands: strip = "{char}"'
            )
        if char in _GROUPING:
            return (
                f"it holds {name}, but it has no decimal mark; if {name} groups thousands: "
                f'strip = "{char}"; if it is the decimal mark: decimal = "{char}"'
            )
        break
    return NOT_A_NUMBER


def _readings(word: str, style: Style) -> list[tuple[str, str]]:
    """Values of ``strip`` and ``decimal`` with which ``word`` is a number, empty for one that can
    stay; where a mark may be either, the reading with groups of thousands comes first."""
    parts = re.fullmatch(r"([^0-9]*)(.*[0-9])([^0-9]*)", word, re.DOTALL)
    if parts is None:
        return []
    before, inner, after = parts.groups()
    around = "".join(
        dict.fromkeys(c for c in before + after if c not in _GROUPING and c not in "+-()")
    )
    marks = [c for c in dict.fromkeys(inner) if c in _GROUPING]
    tried = (
        [(around + "".join(marks[:-1]), marks[-1] if marks else "")]
        if len(marks) != 1
        else [(around + marks[0], ""), (around, marks[0])]
    )
    found: list[tuple[str, str]] = []
    for characters, mark in tried:
        decimal = "" if mark == style.mark else mark
        more = "".join(c for c in characters if c not in style.strip)
        if decimal and (style.decimal is not None or decimal not in ".," or decimal in style.strip):
            continue
        if not (decimal or more) or (style.decimal or "\0") in more:
            continue
        wider = Style(style.strip + more, decimal or style.decimal)
        if isinstance(_read(word, wider), Decimal):
            found.append((wider.strip if more else "", decimal))
    return found[-1:] if marks == [style.mark] else found


def _options(strip: str, decimal: str) -> str:
    """Options of [data] as they are written there."""
    named = (("strip", strip), ("decimal", decimal))
    return ", ".join(f"{key} = {json.dumps(x, ensure_ascii=False)}" for key, x in named if x)


def has_decimals(words: pa.Array) -> bool:
    """Whether the point of some number cannot part thousands."""
    point = words.filter(pc.match_substring_regex(words, r"^[+-]?[0-9]*\.[0-9]*$"))
    return pc.all(pc.match_substring_regex(point, THOUSANDS)).as_py() is False


def is_ambiguous(words: pa.Array, style: Style) -> bool:
    """Whether a point may separate thousands in a column of distinct numbers without known marks:
    every point is as in 1.500."""
    if style.decimal is not None or "." in style.strip:
        return False
    point = words.filter(pc.match_substring_regex(words, r"^[+-]?[0-9]*\.[0-9]*$"))
    if not len(point):
        return False
    return bool(pc.all(pc.match_substring_regex(point, THOUSANDS)).as_py())
