# SPDX-License-Identifier: Apache-2.0
"""A page: what it found in one word, its headline figures, and its sections. And a figure alone."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinyfin.pages.blocks import Block, Figure
from tinyfin.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Check", "Headline", "PageSection", "page", "picture"]

_LINE = 84
"""Letters of a picture's caption on a line."""


@dataclass
class PageSection:
    """A part of a page; ``ident`` is its anchor."""

    ident: str
    title: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Check:
    """What was asked for and what was found."""

    name: str
    wanted: str
    found: str
    ok: bool


@dataclass(frozen=True)
class Headline:
    """What a page says first.

    ``passed`` is None where nothing was asked for. ``checks`` are what it rests on; ``kind`` is the
    word for one of them.
    """

    title: str
    passed: bool | None
    lines: Sequence[str] = ()
    checks: Sequence[Check] = ()
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
    text: str = (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            window_title=window_title or title,
            subtitle=subtitle,
            verdict=verdict,
            headline=headline,
            sections=sections,
            facts_file=facts_file,
        )
    )
    return text


def picture(figure: Figure) -> str:
    """A figure as an SVG file of its own, with its legend and caption."""
    lines = textwrap.wrap(figure.caption, _LINE)
    below = round(figure.chart.height) + 62
    text: str = (
        _environment()
        .get_template("picture.svg")
        .render(
            figure=figure,
            lines=lines,
            below=below,
            width=round(figure.chart.width) + 32,
            height=below + 20 * -(-len(figure.legend) // 2) + 18 * len(lines) + 8,
        )
    )
    return text


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tinyfin.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    """Text without marks that reverse the direction of writing, and the like."""
    return printable(value) if type(value) is str else value
