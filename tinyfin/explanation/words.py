# SPDX-License-Identifier: Apache-2.0
"""An explanation for people: sentences, rows of a table, and one HTML page."""

from __future__ import annotations

from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, figure, fixed, number, table, text
from tinyfin.pages.render import Headline, PageSection, page
from tinyfin.results.explanation import Explanation

__all__ = ["feature_rows", "place", "render", "sum_text", "verdict_lines"]

_DRAWN = 12
_METHODS = {
    "exact": "of all coalitions of the features",
    "trees": "of the pack's trees, exact",
    "permutations": "estimated, ± 95 %",
}


def place(found: Explanation) -> str:
    """Which event it is."""
    return f"row {found.row}, id {found.id}, terminal {found.terminal}, {found.time} UTC"


def verdict_lines(found: Explanation) -> list[str]:
    """Score and thresholds, reasons, and what would have changed the verdict: sentences."""
    cuts = [f"{k.replace('_', ' ')} from {number(x)}" for k, x in found.thresholds.items()]
    kind = "Probability of fraud" if found.probability else "Rank"
    lines = [f"{kind} {number(found.score)}; {', '.join(cuts) or 'no threshold is in force'}."]
    if found.notices in ("missing", "other"):
        lines.append("Without the notices of the calibration, this does not hold as a probability.")
    if found.flags:
        lines.append(f"Flags: {', '.join(found.flags)}.")
    reasons = "; ".join(f"{reason.code} {reason.text}" for reason in found.reasons)
    lines.append(f"Reasons of the device: {reasons or 'none'}.")
    return lines + [f"{change.text[0].upper()}{change.text[1:]}." for change in found.changes]


def sum_text(found: Explanation) -> str:
    """What contributions and Shapley values are."""
    return (
        f"Raw score {found.raw:,}; mean of {found.background_rows} usual rows "
        f"{fixed(found.base, 0)}. The Shapley values ({_METHODS[found.method]}) add up to the "
        "difference. A contribution is the raw score less that with the feature at its usual value."
    )


def feature_rows(found: Explanation) -> list[list[str]]:
    """The head of a table, and a row for each feature."""
    head = ["feature", "Shapley value", "contribution", "value", "usual", "reason"]
    rows = [
        [
            f.feature,
            f"{f.shapley:+,.0f}"
            + (f" ± {1.96 * f.standard_error:,.0f}" if f.standard_error else ""),
            f"{f.contribution:+,}",
            f"{f.value:,}",
            f"{f.usual:,}",
            f.reason.code if f.reason else "",
        ]
        for f in found.features
    ]
    return [head, *rows]


def render(found: Explanation, facts_file: str) -> str:
    """The HTML of a page; ``facts_file`` names the file of its numbers."""
    drawn = [f for f in found.features if f.shapley][:_DRAWN]
    bars = [(f.feature, abs(f.shapley), f"{f.shapley:+,.0f}") for f in drawn]
    pack = {"run": found.run, "pack": found.pack_id, "model": found.model_id, **found.lineage}
    head, *rows = feature_rows(found)
    meant = [[f.feature, f.definition, f.reason.text if f.reason else ""] for f in found.features]
    why: list[Block] = [
        text(sum_text(found)),
        figure(
            charts.horizontal_bars("shapley", "The largest Shapley values", bars),
            "Shapley values in units of the raw score: + raised it, - lowered it.",
        ),
        table("All features", head, rows),
        table("What the values are", ["feature", "definition", "reason"], meant),
    ]
    event: list[Block] = [
        table("Fields", ["", ""], [[k, str(x)] for k, x in found.fields.items()]),
        table("Pack", ["", ""], [[k, str(x)] for k, x in pack.items() if x is not None]),
    ]
    advice = found.advice.replace("_", " ")
    return page(
        f"{found.run}: why {advice}",
        subtitle=place(found),
        verdict=Headline(advice.capitalize(), None, verdict_lines(found)),
        headline=[("score", number(found.score)), ("raw score", f"{found.raw:,}")],
        sections=[
            PageSection("features", "What moved the score", why),
            PageSection("event", "The event", event),
        ],
        facts_file=facts_file,
    )
