# SPDX-License-Identifier: Apache-2.0
"""The page's sections on scenarios and on the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinyfin.features.catalogue import REASONS, reason_code
from tinyfin.pages import figures
from tinyfin.pages.blocks import Block, count, figure, fixed, number, percent, table
from tinyfin.training.evaluation.quality import DRIFT, SUSPECT_AUC

__all__ = ["data_quality", "scenarios"]

Facts = Mapping[str, Any]


def scenarios(facts: Facts) -> list[Block]:
    """Attacks found, reasons given, and alerts where there was no fraud."""
    pooled = facts["pooled"]
    attacks = [s for s in pooled["scenarios"] if s["frauds"]]
    quiet = [s for s in pooled["scenarios"] if not s["frauds"]]
    reasons = {r["scenario"]: r for r in pooled["reasons"]}
    out: list[Block] = []
    if attacks:
        out.append(figure(
            figures.horizontal_bars(
                "found", "Attacks with at least one alert",
                [(s["scenario"], s["attacks_detected"] / s["attacks"],
                  f"{s['attacks_detected']:,} of {s['attacks']:,}") for s in attacks], 1.0,
            ),
            "Attacks with at least one alert. An attack: frauds of one scenario on one terminal, "
            "at most 72 hours apart.",
        ))  # fmt: skip
        out.append(table(
            f"Attacks, at {pooled['transactions_per_terminal_day']:.2f} transactions per terminal "
            "and day", ["scenario", "attacks", "detected", "frauds until the first alert, median",
            "at most", "frauds", "with alert", "false alerts", "reasons given most",
            "expected reason given"],
            [[s["scenario"], count(s["attacks"]), count(s["attacks_detected"]),
              number(s["transactions_until_detected_median"]),
              count(s["transactions_until_detected_max"]), count(s["frauds"]),
              count(s["frauds_alerted"]), count(s["false_alerts"]),
              _reasons(reasons.get(s["scenario"], {}).get("reasons", [])),
              _told(reasons.get(s["scenario"], {}))] for s in attacks],
        ))  # fmt: skip
    if quiet:
        out.append(table(
            "Without any fraud: every alert is false",
            ["scenario", "transactions", "terminals", "false alerts", "per 1,000"],
            [[s["scenario"], count(s["transactions"]), count(s["terminals"]),
              count(s["false_alerts"]),
              number(1000 * s["false_alerts"] / s["genuine"] if s["genuine"] else None)]
             for s in quiet],
        ))  # fmt: skip
    return out


def _told(row: Facts) -> str:
    if "told" not in row:
        return "-"
    return f"{100 * row['told']:.0f} % ({', '.join(reason_code(r) for r in row['expected'])})"


def _reasons(found: Sequence[Facts]) -> str:
    return "; ".join(
        f"{reason_code(r['reason'])} {REASONS.get(r['reason'], 'of the user')} "
        f"({100 * r['share']:.0f} %)" for r in found[:3]
    )  # fmt: skip


def data_quality(facts: Facts) -> list[Block]:
    """Missing, double, late, suspicious, drifting."""
    q = facts["quality"]
    delay = q["label_delay_days"]
    moved = [d for d in q["drift"] if d["stability_index"] >= DRIFT]
    suspects = ", ".join(f"{s['column']} ({s['roc_auc']:.3f})" for s in q["leakage"])
    return [
        table("The data", ["", ""], [
            ["transactions", f"{q['rows']:,} of {q['terminals']:,} terminals"],
            ["labels", f"{q['frauds']:,} fraud, {q['genuine']:,} genuine, {q['unlabelled']:,} "
             "unknown"],
            ["label delay, days", ", ".join(f"{k} {v:.1f}" for k, v in delay.items()) or "-"],
            ["without an outcome", count(q["without_outcome"])],
            ["ids twice at one terminal", count(q["duplicate_ids"])],
            ["equal in terminal, time and all fields", count(q["duplicate_rows"])],
            ["of those with another label", count(q["duplicates_of_other_label"])],
            ["share of fraud, learned and tested",
             f"{percent(q['fraud_share']['learned'])}, {percent(q['fraud_share']['tested'])}"],
            ["leakage suspects", suspects or
             f"none: no single feature reaches a ROC AUC of {SUSPECT_AUC}"],
            ["features that moved between learning and test", ", ".join(
                d["feature"] for d in moved) or f"none (stability index below {DRIFT})"],
        ]),
        table("Fields", ["field", "missing", "different values"],
              [[f["field"], percent(f["missing"]), count(f["distinct"])] for f in q["fields"]]),
        table("Population stability index of features, learned rows against the last test",
              ["feature", "index"],
              [[d["feature"], fixed(d["stability_index"])] for d in q["drift"][:15]]),
    ]  # fmt: skip
