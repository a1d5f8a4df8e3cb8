# SPDX-License-Identifier: Apache-2.0
"""Groups of one's own in words and pictures: page, model card, terminal."""

from __future__ import annotations

import math

from tinyfin.evaluation.proxies import ACCEPTABLE
from tinyfin.evaluation.ratios import FEWEST_ALERTS, FEWEST_FRAUDS
from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, count, figure, fixed, number, percent, spread, table, text
from tinyfin.results.evaluation import Evaluation, GroupFigures, ProxyFigures, Ratio, WorstRatios

__all__ = ["group_blocks", "group_card", "group_lines", "proxy_words", "worst_words"]

_RULE = (
    "Ratios are to all other rows, with 95 % intervals (Katz; 0.5 is added to every cell where one "
    "is 0), and take rows as independent. The worst ratio of a group is the interval's end that is "
    "nearer to 1, at 95 % for all values together (Bonferroni). A value with fewer than "
    f"{FEWEST_ALERTS} false alerts, or {FEWEST_FRAUDS} frauds, cannot be the worst."
)
_TELLING = 0.6
_HEAD = [
    "value",
    "rows",
    "frauds",
    "share of all alerts",
    "recall",
    "ratio of recall",
    "false alerts per 1,000",
    "ratio of false alerts",
    "frauds expected",
    "observed",
]


def group_blocks(facts: Evaluation) -> list[Block]:
    """For each group a picture, a table, the worst ratios and what the features tell of it."""
    out: list[Block] = []
    for i, (name, group) in enumerate(facts.groups.items()):
        names = ("false alerts", "recall")
        drawn = [
            (value, [_three(g.false_alert_ratio), _three(g.recall_ratio)])
            for value, g in group.values.items()
        ]
        if len(drawn) > 1:
            out.append(
                figure(
                    charts.ratios(
                        f"group-{i}", f"Ratios by {name}", drawn, names, "times that of the rest"
                    ),
                    f"{name}: false alerts and recall of each value over those of all other rows, "
                    "with 95 % intervals. At 1 a value is as the rest.",
                    legend=[(n, k) for k, n in enumerate(names)],
                )
            )
        if group.proxies is not None:
            out.append(
                table(
                    f"Features that tell {name} most on their own",
                    ["feature", "value", "ROC AUC against all other values"],
                    [[f.feature, f.value, fixed(f.roc_auc)] for f in group.proxies.features],
                )
            )
        rows = _rows(group)
        where = f"{name} (column {group.column})"
        out += [
            table(
                f"{where}: the pack's alerts, all parts and cards",
                _HEAD[:-2],
                [row[:-2] for row in rows],
            ),
            table(
                f"{where}: frauds that the probabilities promise, and those that came",
                [_HEAD[0], *_HEAD[-2:]],
                [[row[0], *row[-2:]] for row in rows],
            ),
            *(text(f"{name}: {words}") for words in _said(group)),
        ]
    return [*out, text(_RULE)] if out else []


def _three(ratio: Ratio) -> tuple[float, float, float]:
    return ratio.ratio, ratio.low, ratio.high


def _rows(group: GroupFigures) -> list[list[str]]:
    rows = []
    for value, g in group.values.items():
        promise = g.calibration
        expected = (
            "-"
            if promise is None
            else f"{promise.expected:.1f} ({promise.low:.1f} to {promise.high:.1f})"
        )
        outside = promise is not None and not promise.within
        rows.append(
            [
                value,
                count(g.rows),
                count(g.frauds),
                percent(g.alert_share),
                percent(g.recall),
                _ratio(g.recall_ratio),
                number(g.false_alerts_per_1000, 3),
                _ratio(g.false_alert_ratio),
                expected,
                f"{count(g.frauds)}{', outside' if outside else ''}",
            ]
        )
    return rows


def _ratio(found: Ratio) -> str:
    if not math.isfinite(found.ratio):
        return "-"
    return f"{found.ratio:.2f} ({spread(found.low, found.high, 2)})"


def worst_words(worst: WorstRatios) -> str:
    """What chance does not explain of the worst values."""
    noisy = "No value has more false alerts than the rest, beyond chance"
    if worst.false_alert_value is not None and worst.false_alert_ratio_at_least > 1:
        noisy = (
            f"{worst.false_alert_value} has at least {worst.false_alert_ratio_at_least:.2f} times "
            "the false alerts of the rest"
        )
    missed = "no value has less of its frauds detected than the rest, beyond chance"
    if worst.recall_value is not None and worst.recall_ratio_at_most < 1:
        missed = (
            f"{worst.recall_value} has at most {worst.recall_ratio_at_most:.2f} times the recall "
            "of the rest"
        )
    return f"{noisy}; {missed}."


def proxy_words(proxies: ProxyFigures | None) -> str:
    """Whether features can stand for the group, in one or two sentences."""
    if proxies is None:
        return (
            "Whether the features are proxies of it cannot be said: fewer than two values have "
            "enough rows, at two terminals or more."
        )
    low, high = proxies.interval
    auc = f"ROC AUC {fixed(proxies.roc_auc, 2)}, {spread(low, high, 2)}"
    if low > 0.5 and proxies.roc_auc >= ACCEPTABLE:
        told = [f for i, f in enumerate(proxies.features[:3]) if not i or f.roc_auc >= _TELLING]
        best = ", ".join(f"{f.feature} ({f.value}, {fixed(f.roc_auc, 2)})" for f in told)
        return (
            f"The features tell it well ({auc}): they are proxies of it. The model does not see "
            f"the column, and can still treat its values differently. The features that separate "
            f"its values best: {best}."
        )
    if low > 0.5:
        return f"The features tell a little of it ({auc}): they are weak proxies of it."
    return f"The features are not shown to tell it ({auc}; 0.5 is a guess)."


def group_card(facts: Evaluation) -> list[str]:
    """The section of the model card, Markdown; nothing without groups."""
    if not facts.groups:
        return []
    lines = ["## Groups", "", _RULE, ""]
    for name, group in facts.groups.items():
        lines += [f"{_cell(name)} (column {_cell(group.column)}, which no model sees).", ""]
        lines += [f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in _rows(group)]
        lines += ["", *(f"* {_cell(words)}" for words in _said(group)), ""]
    return lines


def _said(group: GroupFigures) -> tuple[str, str]:
    return worst_words(group.worst), proxy_words(group.proxies)


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def group_lines(facts: Evaluation) -> list[str]:
    """Two lines per group, for the terminal."""
    return [f"{name}: {words}" for name, group in facts.groups.items() for words in _said(group)]
