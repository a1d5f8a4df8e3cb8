# SPDX-License-Identifier: Apache-2.0
"""The report's pictures, from its facts. Bars and lines, units on axes, direct labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinyfin.pages.blocks import fixed, spread
from tinyfin.pages.svg import Axis, Canvas, Mark, count_text, figure_text, power_text

__all__ = [
    "CalibrationBin",
    "PrecisionRecall",
    "ScoreHistogram",
    "calibration",
    "delays",
    "folds",
    "histogram",
    "horizontal_bars",
    "precision_recall",
    "ratios",
    "scores",
    "two_shares",
    "whiskers",
]


@dataclass(frozen=True)
class ScoreHistogram:
    """Counts of genuine and fraud per bin; ``edges`` are log10 of the probability."""

    edges: list[float]
    genuine: list[int]
    fraud: list[int]


@dataclass(frozen=True)
class PrecisionRecall:
    """A curve, and the area under it."""

    average_precision: float
    recall: list[float]
    precision: list[float]


@dataclass(frozen=True)
class CalibrationBin:
    """Mean probability, and share of fraud with its 95 % interval."""

    mean: float
    share: float
    low: float
    high: float
    rows: int


_LEFT, _RIGHT = 62.0, 532.0
_MOST_RINGS = 40
_LINES = ("c1", "c2", "c3", "c4", "c5", "c6")


def _x_axis(canvas: Canvas, axis: Axis, y: float, label: str, powers: bool = False) -> None:
    canvas.line(axis.start, y, axis.end, y, "axis")
    for value in axis.ticks():
        x = axis(value)
        canvas.line(x, y, x, y + 5, "axis")
        text = power_text(round(value)) if powers else count_text(value)
        canvas.text(x, y + 20, text, "middle")
    canvas.text((axis.start + axis.end) / 2, y + 42, label, "middle", "label")


def _y_axis(canvas: Canvas, axis: Axis, label: str, ticks: int = 4, percent: bool = False) -> None:
    for value in axis.ticks(ticks):
        y = axis(value)
        canvas.line(_LEFT, y, _RIGHT, y, "grid")
        text = f"{100 * value:.4g} %" if percent else count_text(value)
        canvas.text(_LEFT - 7, y + 5, text, "end")
    canvas.text(4, axis.end - 12, label, "start", "label")


def _count_axis(counts: Sequence[float], start: float, end: float) -> Axis:
    """Counts on a logarithmic axis that shows a count of 1."""
    return Axis(0.7, max(10.0, 1.4 * max(counts, default=1)), start, end, log=True)


def _bars(
    canvas: Canvas, x: Axis, y: Axis, edges: Sequence[float], counts: Sequence[float], style: str
) -> None:
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count > 0:
            left, right = x(low), x(high)
            gap = 1.0 if right - left > 4 else 0.0
            canvas.rect(left, y(count), right - left - gap, y.start - y(count), style)


def scores(ident: str, found: ScoreHistogram, thresholds: Sequence[tuple[str, float]]) -> Canvas:
    """Scores of genuine and fraudulent transactions, one above the other, thresholds through both.

    ``thresholds``: name and log10 of the probability.
    """
    edges, genuine, fraud = found.edges, found.genuine, found.fraud
    said = "; ".join(f"{name} at {figure_text(10**at)}" for name, at in thresholds)
    canvas = Canvas(
        ident,
        "Scores of genuine and fraudulent transactions",
        f"Histogram of calibrated probabilities: {sum(genuine):,} genuine, {sum(fraud):,} fraud. "
        f"Thresholds: {said or 'none'}. The counts are in the table below the picture.",
        450,
    )
    x = Axis(edges[0], edges[-1], _LEFT, _RIGHT)
    top = 18.0 * len(thresholds)
    panels = (
        (f"genuine ({sum(genuine):,})", genuine, "c1", top + 40, top + 180),
        (f"fraud ({sum(fraud):,})", fraud, "c2", top + 228, top + 368),
    )
    canvas.height = top + 420
    for name, counts, style, above, below in panels:
        y = _count_axis(counts, below, above)
        _y_axis(canvas, y, f"{name}: transactions per bin, logarithmic", 3)
        _bars(canvas, x, y, edges, counts, f"fill {style}")
        canvas.line(_LEFT, below, _RIGHT, below, "axis")
    canvas.marks(x, [Mark(at, name) for name, at in thresholds], -2, panels[1][4])
    _x_axis(canvas, x, panels[1][4], "calibrated probability of fraud", powers=True)
    return canvas


def histogram(
    ident: str,
    title: str,
    edges: Sequence[float],
    counts: Sequence[int],
    marks: Sequence[tuple[str, float]],
    x_label: str,
) -> Canvas:
    """Counts per bin on a logarithmic axis, with marked values."""
    said = ", ".join(f"{name} {figure_text(value)}" for name, value in marks)
    canvas = Canvas(ident, title, f"{title}: {said}. Counts are in the table below.", 330)
    top = 18.0 * len(marks) + 34
    canvas.height = top + 250
    x = Axis(edges[0], edges[-1], _LEFT, _RIGHT)
    y = _count_axis(counts, top + 195, top)
    _y_axis(canvas, y, "transactions per bin, logarithmic")
    _bars(canvas, x, y, edges, counts, "fill c1")
    canvas.marks(x, [Mark(v, f"{n} {figure_text(v)}") for n, v in marks], -2, top + 195)
    _x_axis(canvas, x, top + 195, x_label)
    return canvas


def precision_recall(curves: Mapping[str, PrecisionRecall], styles: Mapping[str, int]) -> Canvas:
    """Precision over recall, one line per scorer; ``styles`` numbers them as the legend does."""
    said = ", ".join(f"{n} {fixed(c.average_precision)}" for n, c in curves.items())
    canvas = Canvas("precision-recall", "Precision and recall", f"Average precision: {said}.", 370)
    x, y = Axis(0, 1, _LEFT, _RIGHT), Axis(0, 1, 315, 34)
    _y_axis(canvas, y, "precision: share of alerts that are fraud", 5, percent=True)
    for name in sorted(curves, key=lambda name: -styles[name]):
        curve, i = curves[name], styles[name]
        points = [(x(r), y(p)) for r, p in zip(curve.recall, curve.precision, strict=True)]
        canvas.polyline(points, f"line {_LINES[i % len(_LINES)]} d{i % len(_LINES)}")
    canvas.line(x.start, 315, x.end, 315, "axis")
    for value in x.ticks(4):
        canvas.text(x(value), 335, f"{100 * value:.4g} %", "middle")
    canvas.text((_LEFT + _RIGHT) / 2, 357, "recall: share of fraud that alerts", "middle", "label")
    return canvas


def calibration(series: Mapping[str, Sequence[CalibrationBin]]) -> Canvas:
    """Observed against predicted share of fraud, with 95 % intervals, on logarithmic axes.

    Points without any fraud are on the lower edge.
    """
    points = [p for rows in series.values() for p in rows]
    lowest = min((p.mean for p in points if p.mean > 0), default=1e-4)
    low = max(1e-6, 10.0 ** math.floor(math.log10(lowest)))
    canvas = Canvas(
        "calibration",
        "Calibration",
        "Observed share of fraud against predicted probability, in bins of equally many "
        "transactions; on the diagonal both agree. The values are in the table below.",
        370,
    )
    x = Axis(low, 1, _LEFT, _RIGHT, log=True)
    y = Axis(low, 1, 315, 34, log=True)
    for value in y.ticks():
        canvas.line(_LEFT, y(value), _RIGHT, y(value), "grid")
        canvas.text(_LEFT - 7, y(value) + 5, power_text(round(math.log10(value))), "end")
    canvas.text(4, 22, "observed share of fraud", "start", "label")
    canvas.line(x.start, y.start, x.end, y.end, "mark")
    canvas.text(x.end - 100, y.end + 36, "perfect", "end", "label")
    for i, rows in enumerate(series.values()):
        style = _LINES[i % len(_LINES)]
        shift = 5.0 * i
        for p in rows:
            px = x(p.mean) + shift
            canvas.line(px, y(p.low), px, y(p.high), f"line thin {style}")
            canvas.circle(px, y(p.share), 4.5, f"{'dot' if i == 0 else 'ring'} {style}")
    canvas.line(x.start, 315, x.end, 315, "axis")
    for value in x.ticks():
        canvas.text(x(value), 335, power_text(round(math.log10(value))), "middle")
    canvas.text(
        (_LEFT + _RIGHT) / 2, 357, "predicted probability (mean of the bin)", "middle", "label"
    )
    return canvas


def horizontal_bars(
    ident: str, title: str, rows: Sequence[tuple[str, float, str]], highest: float | None = None
) -> Canvas:
    """One bar per row (name, value, what is written next to it), the name above its bar."""
    said = ", ".join(f"{name} {text}" for name, _, text in rows)
    canvas = Canvas(ident, title, f"{title}: {said}.", 40.0 * len(rows) + 6)
    x = Axis(0, highest or max((v for _, v, _ in rows), default=1) or 1, 2, 400)
    for i, (name, value, text) in enumerate(rows):
        y = 40.0 * i + 15
        canvas.text(2, y, name, "start", "label")
        canvas.rect(2, y + 7, 398, 13, "track")
        canvas.rect(2, y + 7, max(x(value) - 2, 1.0 if value else 0.0), 13, "fill c1")
        canvas.text(408, y + 19, text, "start", "label")
    return canvas


def folds(
    ident: str,
    title: str,
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    styles: Mapping[str, int],
    y_label: str,
    said: str,
    *,
    most: float = 1.0,
    levels: Mapping[str, float] | None = None,
    spans: Sequence[tuple[float, float]] = (),
) -> Canvas:
    """One value per fold (or week, or day) and series, as lines over them in their order.

    ``most``: end of the axis at most. ``levels``: values that are lines from end to end, numbered
    by ``styles`` as series are. ``spans``: intervals around the values of the first series.
    """
    canvas = Canvas(ident, title, said, 304)
    values = [v for row in series.values() for v in row if math.isfinite(v)]
    values += [high for _, high in spans if math.isfinite(high)] + [*(levels or {}).values()]
    high = min(most, max(values, default=1.0) * 1.12) or 1.0
    y = Axis(0, high, 270, 34)
    _y_axis(canvas, y, y_label, 5)
    step = (_RIGHT - _LEFT) / max(len(names), 1)
    at = [_LEFT + step * (i + 0.5) for i in range(len(names))]
    for name, value in (levels or {}).items():
        i = styles[name] % len(_LINES)
        canvas.polyline([(_LEFT, y(value)), (_RIGHT, y(value))], f"line {_LINES[i]} d{i}")
    for x, (low, top) in zip(at, spans, strict=False):
        if math.isfinite(low) and math.isfinite(top):
            canvas.line(x, y(low), x, y(top), "line thin c1")
    for name in sorted(series, key=lambda name: -styles[name]):
        i = styles[name]
        points = [(x, y(v)) for x, v in zip(at, series[name], strict=True) if math.isfinite(v)]
        if len(points) > 1:
            canvas.polyline(points, f"line {_LINES[i % len(_LINES)]} d{i % len(_LINES)}")
        for px, py in points if len(names) <= _MOST_RINGS else ():
            canvas.circle(px, py, 4, f"ring {_LINES[i % len(_LINES)]}")
    canvas.line(_LEFT, 270, _RIGHT, 270, "axis")
    every = max(
        1, math.ceil(len(names) / max(1, int(480 / (8 * max(map(len, names), default=0) + 14))))
    )
    for i, name in enumerate(names):
        if i % every == 0:
            canvas.text(at[i], 290, name, "middle")
    return canvas


def two_shares(
    ident: str, title: str, rows: Sequence[tuple[str, float, float]], names: tuple[str, str]
) -> Canvas:
    """Two shares per bin (its name, the first, the second) as bars one below the other."""
    said = "; ".join(f"{bin_}: {100 * a:.1f} and {100 * b:.1f} %" for bin_, a, b in rows)
    canvas = Canvas(ident, title, f"{title}, {names[0]} and {names[1]}: {said}.", 38.0 * len(rows))
    left = min(230.0, max([60.0, *(7.2 * len(name) + 14 for name, *_ in rows)]))
    x = Axis(0, max([0.01, *(max(a, b) for _, a, b in rows)]), left, _RIGHT - 50)
    for i, (name, *both) in enumerate(rows):
        y = 38.0 * i + 4
        canvas.text(left - 8, y + 19, name, "end", "label")
        for value, top, style in zip(both, (y, y + 15), ("fill c1", "fill c2"), strict=True):
            width = x(value) - left
            canvas.rect(left, top, max(width, 1.0 if value else 0.0), 12, style)
            canvas.text(left + width + 6, top + 10, f"{100 * value:.1f} %")
    return canvas


def whiskers(
    ident: str, title: str, rows: Sequence[tuple[str, float, float, float]], x_label: str
) -> Canvas:
    """One row per name: a value and the interval around it, the name above."""
    said = ", ".join(f"{n} {fixed(v)} ({spread(a, b)})" for n, v, a, b in rows)
    canvas = Canvas(ident, title, f"{title}: {said}.", 34.0 * len(rows) + 64)
    left = max([160.0, *(7.5 * len(name) + 14 for name, *_ in rows)])
    high = max((max(v, b) for _, v, _, b in rows if math.isfinite(b)), default=1.0)
    x = Axis(0, min(1.0, high * 1.08) or 1.0, left, _RIGHT)
    bottom = 34.0 * len(rows) + 12
    for value in x.ticks(5):
        canvas.line(x(value), 8, x(value), bottom, "grid")
        canvas.text(x(value), bottom + 18, count_text(value), "middle")
    for i, (name, value, low, top) in enumerate(rows):
        y = 34.0 * i + 26
        canvas.text(left - 10, y + 5, name, "end", "label")
        style = "c1" if i == 0 else "c6"
        if math.isfinite(low) and math.isfinite(top):
            canvas.line(x(low), y, x(top), y, f"line {style}")
        if math.isfinite(value):
            canvas.circle(x(value), y, 5, f"{'dot c1' if i == 0 else 'ring c6'}")
    canvas.text((left + _RIGHT) / 2, bottom + 40, x_label, "middle", "label")
    return canvas


def ratios(
    ident: str,
    title: str,
    rows: Sequence[tuple[str, Sequence[tuple[float, float, float]]]],
    names: Sequence[str],
    x_label: str,
) -> Canvas:
    """One row per value: for each of ``names`` a ratio and the interval around it, on a logarithmic
    axis with a line at 1. What does not exist is not drawn."""
    said = "; ".join(
        f"{value}: " + ", ".join(f"{n} {fixed(r)} ({spread(a, b)})" for n, (r, a, b) in found)
        for value, each in rows
        for found in [list(zip(names, each, strict=True))]
    )
    step = 18.0 * len(names) + 14
    canvas = Canvas(ident, title, f"{title}: {said}.", step * len(rows) + 66)
    short = [name if len(name) <= 24 else f"{name[:23]}…" for name, _ in rows]
    left = max([90.0, *(7.5 * len(name) + 18 for name in short)])
    ends = [x for _, each in rows for one in each for x in one if math.isfinite(x) and x > 0]
    reach = min(max([2.0, *(max(x, 1 / x) for x in ends)]) * 1.1, 100.0)
    x = Axis(1 / reach, reach, left, _RIGHT, log=True)
    bottom = step * len(rows) + 12
    ticks = [0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100] if reach < 30 else [0.01, 0.1, 1, 10, 100]
    for value in (t for t in ticks if 1 / reach <= t <= reach):
        canvas.line(x(value), 8, x(value), bottom, "mark" if value == 1 else "grid")
        canvas.text(x(value), bottom + 18, count_text(value), "middle")
    for i, (name, (_, each)) in enumerate(zip(short, rows, strict=True)):
        top = step * i + 24
        canvas.text(left - 12, top + 9.0 * (len(names) - 1) + 5, name, "end", "label")
        for k, (ratio, low, high) in enumerate(each):
            y, style = top + 18.0 * k, _LINES[k % len(_LINES)]
            if math.isfinite(low) and math.isfinite(high):
                canvas.line(x(low), y, x(high), y, f"line {style} d{k % len(_LINES)}")
            if math.isfinite(ratio):
                canvas.circle(x(ratio), y, 5, f"{'dot' if k == 0 else 'ring'} {style}")
    canvas.text((left + _RIGHT) / 2, bottom + 42, x_label, "middle", "label")
    return canvas


def delays(
    ident: str, rows: Sequence[tuple[float, Mapping[str, float]]], styles: Mapping[str, int]
) -> Canvas:
    """Average precision over the delay of labels in days, one line per scorer."""
    said = "; ".join(
        f"{day:g} days: " + ", ".join(f"{n} {v:.3f}" for n, v in by.items()) for day, by in rows
    )
    canvas = Canvas(ident, "Average precision over label delay", said, 350)
    x = Axis(0, max(day for day, _ in rows) * 1.05, _LEFT, _RIGHT)
    y = Axis(0, 1, 280, 34)
    _y_axis(canvas, y, "average precision", 5)
    for name, i in sorted(styles.items(), key=lambda item: -item[1]):
        points = [(x(day), y(by[name])) for day, by in rows if name in by]
        canvas.polyline(points, f"line {_LINES[i % len(_LINES)]} d{i % len(_LINES)}")
        for px, py in points:
            canvas.circle(px, py, 4, f"ring {_LINES[i % len(_LINES)]}")
    _x_axis(canvas, x, 280, "days until a label is known")
    return canvas
