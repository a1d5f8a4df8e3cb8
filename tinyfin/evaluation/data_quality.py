# SPDX-License-Identifier: Apache-2.0
"""What is the matter with the data: missing, twice, late, too good to be true, drifting."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.transactions import NO_RESULT, Transactions, format_time
from tinyfin.results.evaluation import (
    DelayQuantile,
    Drift,
    FieldQuality,
    FraudShare,
    Quality,
    Suspect,
)
from tinyfin.training.drift import stability_index
from tinyfin.training.metrics import roc_auc

__all__ = ["DRIFT", "SUSPECT_AUC", "population_stability", "quality"]

SUSPECT_AUC = 0.98
"""A single feature that separates the classes so well is suspicious."""
DRIFT = 0.25
"""Population stability index from which a feature has moved (0.1 to 0.25: it moves)."""
_BINS = 10
_MOST = 200_000


def quality(
    tx: Transactions,
    config: Config,
    features: npt.NDArray[np.int16],
    names: tuple[str, ...],
    learned: npt.NDArray[np.int64],
    tested: npt.NDArray[np.int64],
) -> Quality:
    """Facts on the data of an evaluation; ``learned`` and ``tested`` are rows of the last fold."""
    fields = []
    for spec in tx.schema.fields:
        have = tx.has(spec.name)
        values = tx.column(spec.name)[have]
        fields.append(
            FieldQuality(
                field=spec.name,
                missing=float(1 - np.mean(have)) if len(have) else 1.0,
                distinct=len(np.unique(values)),
            )
        )
    known = tx.label >= 0
    delay = (tx.label_known_s[known].astype(np.int64) - tx.t_mono_s[known]) / 86_400
    quantiles = np.quantile(delay, [0, 0.5, 0.9, 1]).tolist() if len(delay) else []
    delays: tuple[DelayQuantile, ...] = ("least", "median", "90 %", "most")
    drift = [
        Drift(
            feature=name,
            stability_index=population_stability(features[learned, i], features[tested, i]),
        )
        for i, name in enumerate(names)
    ]
    return Quality(
        rows=len(tx),
        terminals=len(tx.terminals),
        from_=format_time(int(tx.t_mono_s.min())),
        to=format_time(int(tx.t_mono_s.max())),
        frauds=int(np.count_nonzero(tx.label == 1)),
        genuine=int(np.count_nonzero(tx.label == 0)),
        unlabelled=int(np.count_nonzero(~known)),
        without_outcome=int(np.count_nonzero(tx.result == NO_RESULT)),
        fields=fields,
        duplicate_ids=_duplicates(np.column_stack([tx.terminal, tx.id.view(np.int64)])),
        duplicate_rows=_duplicates(np.column_stack([tx.terminal, tx.t_mono_s, tx.values])),
        duplicates_of_other_label=_contradictions(tx),
        label_delay_days=dict(zip(delays, quantiles, strict=False)),
        label_delay_configured_days=(config.data.label_delay_s or 0) / 86_400,
        leakage=_suspects(tx, features, names, learned),
        drift=sorted(drift, key=lambda row: -row.stability_index),
        fraud_share=FraudShare(
            learned=float(np.mean(tx.label[learned] == 1)),
            tested=float(np.mean(tx.label[tested] == 1)),
        ),
    )


def population_stability(
    before: npt.NDArray[np.number], after: npt.NDArray[np.number], bins: int = _BINS
) -> float:
    """Population stability index over bins that hold equally many of ``before``.

    :func:`~tinyfin.training.drift.stability_index` has the formula.
    """
    edges = np.unique(np.quantile(before, np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    p, q = (
        np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(edges) + 1)
        for x in (before, after)
    )
    return stability_index(p, q)


def _duplicates(rows: npt.NDArray[np.int64]) -> int:
    """How many rows are there once more."""
    if not len(rows):
        return 0
    packed = np.ascontiguousarray(rows).view([("", rows.dtype)] * rows.shape[1])[:, 0]
    return len(rows) - len(np.unique(packed))


def _contradictions(tx: Transactions) -> int:
    """Rows equal in terminal, time and all fields whose labels differ."""
    known = np.flatnonzero(tx.label >= 0)
    same = np.column_stack([tx.terminal[known], tx.t_mono_s[known], tx.values[known]])
    label = tx.label[known].astype(np.int64)
    return _duplicates(same) - _duplicates(np.column_stack([same, label]))


def _suspects(
    tx: Transactions,
    features: npt.NDArray[np.int16],
    names: tuple[str, ...],
    learned: npt.NDArray[np.int64],
) -> list[Suspect]:
    """Single features, and the mere time and id, that separate frauds suspiciously well."""
    rows = learned
    if len(rows) > _MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST, replace=False))
    label = tx.label[rows]
    columns: dict[str, npt.NDArray[np.number]] = {
        name: features[rows, i] for i, name in enumerate(names)
    }
    columns |= {"(order of rows)": tx.row[rows], "(transaction id)": tx.id[rows]}
    found = []
    for name, column in columns.items():
        auc = roc_auc(column, label)
        strength = max(auc, 1 - auc) if np.isfinite(auc) else float("nan")
        if strength >= SUSPECT_AUC or (name.startswith("(") and strength >= 0.75):
            found.append(Suspect(column=name, roc_auc=strength))
    return found
