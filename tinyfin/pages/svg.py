# SPDX-License-Identifier: Apache-2.0
"""A small canvas and axes for inline SVG. Colours come from classes that the report's CSS defines.

Coordinates are in units of the view box, about one pixel on a desktop. Text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from tinyfin.text import printable

__all__ = ["WIDTH", "Axis", "Canvas", "Mark", "count_text", "figure_text", "power_text"]

WIDTH = 560.0
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def figure_text(value: float, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, thousands separated, no exponent if possible."""
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}g}"


def count_text(value: float) -> str:
    """A short form for ticks: 1,000 becomes 1k, 2,500,000 becomes 2.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def power_text(exponent: int) -> str:
    """A power of ten for ticks: 0.1, 0.01, then 10 with a raised exponent."""
    if -3 <= exponent <= 0:
        return f"{10.0**exponent:.{-exponent}f}"
    return "10" + str(exponent).translate(_SUPERSCRIPT)


@dataclass(frozen=True)
class Axis:
    """Maps values from ``low`` to ``high`` to units from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is, kept within the axis."""
        low, high, v = self.low, self.high, value
        if self.log:
            low, high, v = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        share = (v - low) / (high - low) if high > low else 0.5
        return self.start + (self.end - self.start) * min(max(share, 0.0), 1.0)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values on the axis: powers of ten on a logarithmic one."""
        if self.log:
            first = math.ceil(math.log10(self.low) - 1e-9)
            last = math.floor(math.log10(self.high) + 1e-9)
            every = max(1, math.ceil((last - first + 1) / (count + 1)))
            return [10.0**e for e in range(first, last + 1, every)]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        raw = span / count
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
        lowest, highest = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(lowest, highest + 1)]


@dataclass(frozen=True)
class Mark:
    """A vertical line that says something."""

    value: float
    text: str
    style: str = "mark"


@dataclass
class Canvas:
    """Collects shapes; :meth:`done` gives the picture."""

    ident: str
    title: str
    text_for_all: str
    """What the picture shows, in words, for who cannot see it."""
    height: float
    width: float = WIDTH
    parts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """Drawn last: no line covers a text."""

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """A line."""
        self.parts.append(
            f'<line class="{escape(style)}" x1="{x1:.1f}" y1="{y1:.1f}" '
            f'x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )

    def rect(self, x: float, y: float, w: float, h: float, style: str) -> None:
        """A rectangle."""
        self.parts.append(
            f'<rect class="{escape(style)}" x="{x:.1f}" y="{y:.1f}" '
            f'width="{max(w, 0):.1f}" height="{max(h, 0):.1f}"/>'
        )

    def circle(self, x: float, y: float, r: float, style: str) -> None:
        """A circle."""
        self.parts.append(
            f'<circle class="{escape(style)}" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>'
        )

    def polyline(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """A line through points."""
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline class="{escape(style)}" points="{text}"/>')

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", style: str = "tick"
    ) -> None:
        """Text; ``anchor`` is start, middle or end."""
        self.texts.append(
            f'<text class="{escape(style)}" x="{x:.1f}" y="{y:.1f}" '
            f'text-anchor="{escape(anchor)}">{escape(printable(text))}</text>'
        )

    def marks(self, axis: Axis, marks: Sequence[Mark], top: float, bottom: float) -> None:
        """Vertical lines; their texts one below the other from ``top``, so none is covered."""
        middle = (axis.start + axis.end) / 2
        for i, mark in enumerate(sorted(marks, key=lambda m: m.value)):
            x, y = axis(mark.value), top + 18.0 * (i + 1)
            self.line(x, y - 12, x, bottom, mark.style)
            left = x > middle
            self.text(x - 5 if left else x + 5, y, mark.text, "end" if left else "start", "label")

    def done(self) -> Markup:
        """The SVG element, with title and description for screen readers."""
        head = (
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" role="img" '
            f'aria-labelledby="{escape(self.ident)}-t {escape(self.ident)}-d">'
            f'<title id="{escape(self.ident)}-t">{escape(printable(self.title))}</title>'
            f'<desc id="{escape(self.ident)}-d">{escape(printable(self.text_for_all))}</desc>'
        )
        return Markup(head + "".join(self.parts + self.texts) + "</svg>")
