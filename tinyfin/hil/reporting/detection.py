# SPDX-License-Identifier: Apache-2.0
"""What the replayed verdicts caught, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.attacks import ATTACK_GAP_S, by_scenario

__all__ = ["caught", "instruction_facts", "replayed_probability"]

_Q32 = float(1 << 32)
_WEEK_S = 7 * 86400
_BINS = 48


def caught(
    tx: Transactions, rows: npt.NDArray[np.int64], action: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    """Alerts among replayed rows: false ones, and per scenario how many attacks were found.

    ``rows`` are rows of ``tx`` with one ``action`` each; an alert is any action but accept.
    """
    order = np.lexsort((rows, tx.t_mono_s[rows]))
    rows, action = rows[order], action[order]
    alert = action > 0
    label, terminal = tx.label[rows], tx.terminal[rows]
    t = tx.t_mono_s[rows].astype(np.int64)
    genuine, fraud = label == 0, label == 1
    weeks = max(float(t[-1] - t[0]) / _WEEK_S, 1 / 7) if len(t) else 0.0
    terminals = len(np.unique(terminal))
    false = int(np.count_nonzero(alert & genuine))
    out: dict[str, Any] = {
        "rows": len(rows),
        "terminals": terminals,
        "weeks": weeks,
        "genuine": int(np.count_nonzero(genuine)),
        "frauds": int(np.count_nonzero(fraud)),
        "unknown": int(np.count_nonzero(label < 0)),
        "alerts": int(np.count_nonzero(alert)),
        "frauds_alerted": int(np.count_nonzero(alert & fraud)),
        "false_alerts": false,
        "false_alerts_per_1000": _share(1000.0 * false, int(np.count_nonzero(genuine))),
        "false_alerts_per_terminal_week": _share(false, terminals * weeks),
        "attack_gap_s": ATTACK_GAP_S,
        "scenarios": [],
    }
    out["scenarios"] = [row.as_json() for row in by_scenario(tx, rows, action)]
    return out


def replayed_probability(score_q32: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of verdicts."""
    return score_q32.astype(np.float64) / _Q32


def instruction_facts(
    counts: npt.NDArray[np.int64], action: Sequence[int] | npt.NDArray[np.uint8] | None
) -> dict[str, Any]:
    """Median, 99.9 %, maximum and a histogram of instructions per transaction."""
    low, high = int(counts.min()), int(counts.max())
    edges = np.linspace(low, max(high, low + 1), _BINS + 1)
    out: dict[str, Any] = {
        **_quantiles(counts),
        "count": len(counts),
        "min": low,
        "histogram": {"edges": edges.tolist(), "counts": np.histogram(counts, edges)[0].tolist()},
    }
    if action is not None and len(action) == len(counts):
        alert = np.asarray(action) > 0
        for name, mask in (("accepted", ~alert), ("alerted", alert)):
            if np.any(mask):
                out[name] = {"count": int(np.count_nonzero(mask)), **_quantiles(counts[mask])}
    return out


def _quantiles(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return {
        "median": int(np.median(counts)),
        "p99_9": int(np.percentile(counts, 99.9, method="higher")),
        "max": int(counts.max()),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
