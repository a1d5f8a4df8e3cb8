# SPDX-License-Identifier: Apache-2.0
"""The page's sections on scenarios and on the data."""

from __future__ import annotations

from tinyfin.evaluation.attacks import ATTACK_GAP_S
from tinyfin.evaluation.data_quality import DRIFT, SUSPECT_AUC
from tinyfin.evaluation.doubts import DOUBTED_LABELS
from tinyfin.features.catalogue import REASONS, reason_code
from tinyfin.pages.blocks import Block, count, fixed, percent, table, text
from tinyfin.pages.scenarios import scenario_blocks
from tinyfin.results.evaluation import Evaluation, ScenarioReasons

__all__ = ["data_quality", "doubted_labels", "scenarios"]

_SHOWN = 20


def scenarios(facts: Evaluation) -> list[Block]:
    """Attacks found, reasons given, and alerts where there was no fraud."""
    pooled = facts.pooled
    reasons = {r.scenario: r for r in pooled.reasons}
    return scenario_blocks(
        pooled.scenarios,
        gap_s=ATTACK_GAP_S,
        caption=f"Attacks, at {pooled.transactions_per_terminal_day:.2f} transactions per "
        "terminal and day",
        more=(
            ("reasons given most", lambda s: _reasons(reasons.get(s.scenario))),
            ("expected reason given", lambda s: _told(reasons.get(s.scenario))),
        ),
    )


def _told(row: ScenarioReasons | None) -> str:
    if row is None or row.told is None:
        return "-"
    return f"{100 * row.told:.0f} % ({', '.join(reason_code(r) for r in row.expected)})"


def _reasons(row: ScenarioReasons | None) -> str:
    return "; ".join(
        f"{reason_code(r.reason)} {r.text or REASONS.get(r.reason, 'of the user')} "
        f"({100 * r.share:.0f} %)"
        for r in (row.reasons[:3] if row is not None else ())
    )


def doubted_labels(facts: Evaluation) -> list[Block]:
    """The labels that models doubt most which have not seen them."""
    found = facts.doubts
    if found is None:
        return []
    out: list[Block] = [
        text(
            f"Each of {found.rows:,} labelled transactions, {found.frauds:,} of them frauds, is "
            f"scored by one of {found.parts} models that share no {found.held_out} with it. A "
            "doubted label need not be wrong: look at these first. The whole list is "
            f"{DOUBTED_LABELS}, next to this page."
        )
    ]
    for kind, title in (
        ("fraud", "Frauds that look genuine"),
        ("genuine", "Genuine transactions that look like fraud"),
    ):
        rows = [
            [str(d.rank), str(d.id), d.terminal, d.time, f"{d.score:.2g}"]
            for d in found.labels
            if d.label == kind
        ]
        if rows:
            head = ["rank", "id", "terminal", "time", "score"]
            shown = f"; the first {_SHOWN} of {len(rows)}" if len(rows) > _SHOWN else ""
            out.append(table(f"{title}{shown}", head, rows[:_SHOWN]))
    return out


def data_quality(facts: Evaluation) -> list[Block]:
    """Missing, double, late, suspicious, drifting."""
    q = facts.quality
    delay = q.label_delay_days
    moved = [d for d in q.drift if d.stability_index >= DRIFT]
    suspects = ", ".join(f"{s.column} ({s.roc_auc:.3f})" for s in q.leakage)
    missing = ", ".join(facts.fields.missing)
    return [
        table(
            "The data",
            ["", ""],
            [
                ["transactions", f"{q.rows:,} of {q.terminals:,} terminals"],
                ["labels", f"{q.frauds:,} fraud, {q.genuine:,} genuine, {q.unlabelled:,} unknown"],
                ["label delay, days", ", ".join(f"{k} {v:.1f}" for k, v in delay.items()) or "-"],
                ["without an outcome", count(q.without_outcome)],
                ["ids twice at one terminal", count(q.duplicate_ids)],
                ["equal in terminal, time and all fields", count(q.duplicate_rows)],
                ["of those with another label", count(q.duplicates_of_other_label)],
                [
                    "share of fraud, training and test",
                    f"{percent(q.fraud_share.learned)}, {percent(q.fraud_share.tested)}",
                ],
                [
                    f"leakage suspects: ROC AUC of {SUSPECT_AUC} or more",
                    suspects or "no single feature",
                ],
                [
                    f"features that moved from training to test: index of {DRIFT} or more",
                    ", ".join(d.feature for d in moved) or "none",
                ],
                ["fields that the model reads and no row has", missing or "none"],
            ],
        ),
        table(
            "Fields",
            ["field", "missing", "different values"],
            [[f.field, percent(f.missing), count(f.distinct)] for f in q.fields],
        ),
        table(
            "Population stability index of features, training rows against the last test",
            ["feature", "index"],
            [[d.feature, fixed(d.stability_index)] for d in q.drift[:15]],
        ),
    ]
