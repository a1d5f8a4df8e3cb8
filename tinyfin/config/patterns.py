# SPDX-License-Identifier: Apache-2.0
"""Patterns of times, by strptime's directives, as regular expressions."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["form_of", "parse_pattern"]

_UP_TO_99 = "[0-9]{1,2}"
_DIRECTIVES = {
    "%Y": "(?P<y>[0-9]{4})",
    "%y": "(?P<yy>[0-9]{2})",
    "%m": f"(?P<m>{_UP_TO_99})",
    "%b": "(?P<b>[A-Za-z]+)",
    "%B": "(?P<b>[A-Za-z]+)",
    "%d": f"(?P<d>{_UP_TO_99})",
    "%j": "(?P<j>[0-9]{1,3})",
    "%a": "[A-Za-z]+",
    "%A": "[A-Za-z]+",
    "%H": f"(?P<H>{_UP_TO_99})",
    "%I": f"(?P<H>{_UP_TO_99})",
    "%M": f"(?P<M>{_UP_TO_99})",
    "%S": f"(?P<S>{_UP_TO_99})",
    "%f": "[0-9]{1,9}",
    "%p": r"(?P<p>[AaPp]\.?\s?[Mm]\.?)",
    "%z": r"(?P<z>[Zz]|[+-][0-9]{2}:?(?:[0-9]{2})?)",
    "%%": "%",
}
_LONG = {"%T": "%H:%M:%S", "%R": "%H:%M", "%F": "%Y-%m-%d", "%D": "%m/%d/%y"}


def parse_pattern(value: object) -> str:
    """``value``, if it is a pattern. Raises ValueError with the rule."""
    if not isinstance(value, str) or "%" not in value:
        raise ValueError('a pattern names parts of a time, as in "%d.%m.%Y %H:%M:%S"')
    for part in re.findall(r"%.?", value, re.DOTALL):
        if part not in {**_DIRECTIVES, **_LONG}:
            known = " ".join((*_DIRECTIVES, *_LONG))
            raise ValueError(f"{part} is not known in a pattern; known are {known}")
    try:
        re.compile(form_of(value))
    except re.error as error:
        raise ValueError("a pattern names each part of a time once") from error
    return value


@lru_cache(maxsize=256)
def form_of(pattern: str) -> str:
    """The regular expression of a pattern, with a named group for each part of the time."""
    for short, long in _LONG.items():
        pattern = pattern.replace(short, long)
    return "".join(
        r"\s*" if part.isspace() else _DIRECTIVES.get(part) or re.escape(part)
        for part in re.findall(r"%.|\s+|[^%\s]+", pattern, re.DOTALL)
    )
