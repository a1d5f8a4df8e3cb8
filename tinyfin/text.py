# SPDX-License-Identifier: Apache-2.0
"""Text from outside (devices, files, tools), made safe to show.

A console obeys escape sequences, and a console, a page and an editor obey marks that reverse the
direction of writing. Such characters are shown as escapes: ``\\\\x1b``, ``\\\\u202e``.
"""

from __future__ import annotations

import unicodedata

__all__ = ["json_safe", "one_line", "printable"]


class _Shown(dict[int, str]):
    """What is shown for a character, by its number; made when it is first asked for."""

    def __init__(self, kept: str) -> None:
        super().__init__((ord(c), c) for c in kept)

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char.isprintable() or unicodedata.category(char) == "Zs":
            shown = char
        else:
            # a byte that was no UTF-8 (a surrogate) and what is beyond 16 bits have forms too
            shown = char.encode("unicode_escape", "surrogatepass").decode("ascii")
        self[code] = shown
        return shown


_LINES = _Shown("\n\t")
_ONE_LINE = _Shown("")


def printable(text: str) -> str:
    """``text`` without anything that a console would obey, except line breaks and tabs."""
    return text.translate(_LINES)


def one_line(text: str, most: int | None = None) -> str:
    """The same without line breaks and tabs, at most ``most`` characters, for names."""
    shown = text.translate(_ONE_LINE)
    return shown if most is None or len(shown) <= most else shown[: most - 3] + "..."


def json_safe(text: str) -> str:
    """A JSON document whose strings hold nothing that a console would obey; it means the same."""
    if text.isascii() and "\x7f" not in text:
        return text  # json escapes the other control characters itself
    return "".join(c if c == "\n" or _ONE_LINE[ord(c)] == c else _json_escape(c) for c in text)


def _json_escape(char: str) -> str:
    data = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[at]:02x}{data[at + 1]:02x}" for at in range(0, len(data), 2))
