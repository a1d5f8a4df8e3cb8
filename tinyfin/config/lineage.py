# SPDX-License-Identifier: Apache-2.0
"""The part of a configuration that a model can come from."""

from __future__ import annotations

import re
import tomllib
from itertools import dropwhile

__all__ = ["of_the_model", "without_section", "without_slices"]

_HEADER = re.compile(r"\s*\[")
_OWN = re.compile(r"\s*\[\s*evaluate\s*\.\s*slices\s*\]")
_EVALUATE = re.compile(r"\s*\[\s*evaluate\s*\]")
_KEY = re.compile(r"\s*slices\s*[.=]")
_NO_MODEL = ("card", "monitor")
"""Sections that make no model."""


def of_the_model(text: str) -> str:
    """A configuration without what makes no model: [card], [monitor] and [evaluate] slices."""
    for name in _NO_MODEL:
        text = without_section(text, name)
    return without_slices(text)


def without_section(text: str, name: str) -> str:
    """A configuration as it would be without a section.

    The text as it is where there is none, or where it cannot be taken out by whole lines.
    """
    table = tomllib.loads(text.removeprefix("\ufeff"))
    if name not in table:
        return text
    del table[name]
    own = re.compile(rf"\ufeff?\s*\[\s*{name}\s*\]|\s*{name}\s*[.=]")
    mark = "\ufeff" * text.startswith("\ufeff")
    lines = text.splitlines(keepends=True)
    begins = [i for i, line in enumerate(lines) if own.match(line)]
    headers = [i for i, line in enumerate(lines) if _HEADER.match(line)]
    for begin in begins:
        last = [i + 1 for i in begins if "[" not in lines[i].split("=")[0]][-1:]  # card.owner = ...
        for end in [i for i in [*last, *headers, len(lines)] if i > begin]:
            kept = lines[:begin] + lines[end:]
            if end == len(lines):
                while kept and not kept[-1].strip():
                    kept.pop()
            try:
                if tomllib.loads("".join(kept).removeprefix("\ufeff")) == table:
                    return mark * (begin == 0) + "".join(kept)
            except tomllib.TOMLDecodeError:
                continue
    return text


def without_slices(text: str) -> str:
    """A configuration as it would be without [evaluate] slices, by which no model is made.

    The text as it is where there are none, or where they cannot be taken out by whole lines.
    """
    table = tomllib.loads(text.removeprefix("\ufeff"))
    evaluate = table.get("evaluate", {})
    if "slices" not in evaluate:
        return text
    del evaluate["slices"]
    sections: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if _HEADER.match(line):
            sections.append([])
        sections[-1].append(line)
    kept = [section for section in sections if not (section and _OWN.match(section[0]))]
    for i, section in enumerate(kept):
        if section and _EVALUATE.match(section[0]):
            rest = [line for line in section if not _KEY.match(line)]
            kept[i] = rest if any(line.strip() for line in rest[1:]) else []
    lines = [line for section in kept for line in section]
    if kept[-1] != sections[-1]:
        lines = list(dropwhile(lambda line: not line.strip(), reversed(lines)))[::-1]
    found = "".join(lines)
    left = tomllib.loads(found.removeprefix("\ufeff"))
    same = {k: v for k, v in table.items() if v} == {k: v for k, v in left.items() if v}
    return found if same else text
