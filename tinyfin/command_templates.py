# SPDX-License-Identifier: Apache-2.0
"""Commands of rig files and board files: words with ``{name}`` in place of what is known later.

``${NAME}`` is left to the shell, and braces with a space inside to the program.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["filled_in", "placeholders", "unknown_placeholder"]

_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z_]\w*)\}")


def placeholders(command: str | Sequence[str]) -> list[str]:
    """The names in braces, in their order."""
    words = [command] if isinstance(command, str) else command
    return [name for word in words for name in _PLACEHOLDER.findall(word)]


def filled_in(words: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """The words with ``values`` in place of the names. Braces inside a value stay as they are."""
    return [_PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), word) for word in words]


def unknown_placeholder(command: str | Sequence[str], known: Sequence[str]) -> str | None:
    """What is wrong with the first name that is not ``known``; None when there is none."""
    for name in placeholders(command):
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {{{near[0]}}}? " if near else ""
        there = ", ".join(f"{{{one}}}" for one in known)
        return (
            f"unknown placeholder {{{name}}}; {hint}known here are {there}. Braces that are the "
            f"program's own take a space: {{ {name} }}"
        )
    return None
