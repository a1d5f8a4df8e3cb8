# SPDX-License-Identifier: Apache-2.0
"""A page: what it found in one word, its headline figures, and its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinyfin.pages.blocks import Block
from tinyfin.text import printable

__all__ = ["Headline", "PageSection", "page"]


@dataclass
class PageSection:
    """A part of a page; ``ident`` is its anchor."""

    ident: str
    title: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Headline:
    """What a page says first.

    ``passed`` is None where nothing was asked for. ``checks`` are what it rests on, each with
    ``name``, ``wanted``, ``found`` and ``ok``; ``kind`` is the word for one of them.
    """

    title: str
    passed: bool | None
    lines: Sequence[str] = ()
    checks: Sequence[Mapping[str, object]] = ()
    kind: str = "check"

    @property
    def style(self) -> str:
        """Its class in the style sheet."""
        return "plain" if self.passed is None else "pass" if self.passed else "fail"

    @property
    def mark(self) -> str:
        """The title's sign for eyes, not for screen readers."""
        return "" if self.passed is None else "✓" if self.passed else "✗"


def page(
    title: str,
    *,
    subtitle: str,
    verdict: Headline,
    headline: Sequence[tuple[str, str]],
    sections: Sequence[PageSection],
    facts_file: str,
    window_title: str = "",
) -> str:
    """The HTML of a page; ``facts_file`` names the file that holds its numbers.

    Everything that is not a picture of this package is escaped. ``headline``: names and values.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tinyfin.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    text: str = environment.get_template("page.html").render(
        title=title,
        window_title=window_title or title,
        subtitle=subtitle,
        verdict=verdict,
        headline=headline,
        sections=sections,
        facts_file=facts_file,
    )
    return text


def _shown(value: object) -> object:
    """Text without marks that reverse the direction of writing, and the like."""
    return printable(value) if type(value) is str else value
