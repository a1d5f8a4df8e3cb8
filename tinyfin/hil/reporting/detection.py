# SPDX-License-Identifier: Apache-2.0
"""What the scores say: curves of the test period, and what the replayed verdicts caught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.training.metrics import average_precision, precision_recall_curve

__all__ = [
    "ATTACK_GAP_S", "caught", "curves", "instruction_facts", "replayed_probability",
    "score_histogram",
]

ATTACK_GAP_S = 72 * 3600
"""Frauds of one scenario on one terminal belong to one attack up to this distance."""

_Q32 = float(1 << 32)
_WEEK_S = 7 * 86400
_POINTS = 160
_BINS = 48
_LOWEST = 1e-7


def score_histogram(
    probability: npt.NDArray[np.float64], label: npt.NDArray[np.int8]
) -> dict[str, Any] | None:
    """Counts of genuine (0) and fraud (1) per bin of log10 of the probability; None without rows.

    Rows of unknown label are left out.
    """
    known = label >= 0
    if not np.any(known):
        return None
    logs = np.log10(np.clip(probability[known], _LOWEST, 1.0))
    edges = np.linspace(min(float(np.floor(logs.min())), -1.0), 0.0, _BINS + 1)
    fraud = label[known] == 1
    return {
        "edges": edges.tolist(),
        "genuine": np.histogram(logs[~fraud], edges)[0].tolist(),
        "fraud": np.histogram(logs[fraud], edges)[0].tolist(),
    }


def curves(
    label: npt.NDArray[np.int8],
    scores: Mapping[str, npt.NDArray[Any]],
    probability: Mapping[str, npt.NDArray[np.float64]],
) -> dict[str, Any]:
    """Precision over recall of every scorer, best first, and calibration of the probabilities.

    Empty without both classes.
    """
    if len(np.unique(label[label >= 0])) < 2:
        return {}
    by_name = {}
    for name, score in scores.items():
        recall, precision = precision_recall_curve(score, label)
        at = np.unique(np.searchsorted(recall, np.linspace(0, 1, _POINTS + 1)))
        at = np.minimum(np.r_[0, at], len(recall) - 1)
        by_name[name] = {
            "average_precision": average_precision(score, label),
            "recall": recall[at].tolist(),
            "precision": precision[at].tolist(),
        }
    best_first = sorted(by_name, key=lambda name: -by_name[name]["average_precision"])
    return {
        "precision_recall": {name: by_name[name] for name in best_first},
        "calibration": {name: _bins(p, label) for name, p in probability.items()},
    }


def _bins(p: npt.NDArray[np.float64], label: npt.NDArray[np.int8]) -> list[dict[str, float]]:
    """Mean probability and share of fraud, three bins per power of ten.

    Bins of equally many rows, as the calibration error has them, would nearly all lie where there
    is no fraud.
    """
    third = np.floor(3 * np.log10(np.clip(p, _LOWEST, 1 - 1e-12))).astype(np.int64)
    out = []
    for number in np.unique(third).tolist():
        rows = third == number
        n = int(np.count_nonzero(rows))
        share = float(np.mean(label[rows] == 1))
        low, high = _wilson(share, n)
        mean = float(np.mean(p[rows]))
        out.append({"mean": mean, "share": share, "low": low, "high": high, "rows": n})
    return out


def _wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def caught(
    tx: Transactions, rows: npt.NDArray[np.int64], action: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    """Alerts among replayed rows: false ones, and per scenario how many attacks were found.

    ``rows`` are rows of ``tx`` with one ``action`` each; an alert is any action but accept.
    """
    order = np.lexsort((rows, tx.t_mono_s[rows]))
    rows, alert = rows[order], action[order] > 0
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
    if tx.scenario is None:
        return out
    code = tx.scenario_code[rows]
    for number, name in enumerate(tx.scenario):
        mine = code == number
        if not np.any(mine) or not name:
            continue
        row: dict[str, Any] = {
            "scenario": name,
            "transactions": int(np.count_nonzero(mine)),
            "terminals": len(np.unique(terminal[mine])),
            "frauds": int(np.count_nonzero(mine & fraud)),
            "frauds_alerted": int(np.count_nonzero(mine & fraud & alert)),
            "genuine": int(np.count_nonzero(mine & genuine)),
            "false_alerts": int(np.count_nonzero(mine & genuine & alert)),
        }
        if row["frauds"]:
            at = np.flatnonzero(mine & fraud)
            until = _attacks(terminal[at], t[at], alert[at])
            found = [u for u in until if u is not None]
            row["attacks"] = len(until)
            row["attacks_detected"] = len(found)
            row["transactions_until_detected_median"] = float(np.median(found)) if found else None
            row["transactions_until_detected_max"] = max(found, default=None)
        out["scenarios"].append(row)
    return out


def _attacks(
    terminal: npt.NDArray[np.int32], t: npt.NDArray[np.int64], alert: npt.NDArray[np.bool_]
) -> list[int | None]:
    """Per attack the number of its frauds up to and with the first alert, or None."""
    order = np.lexsort((np.arange(len(t)), t, terminal))
    found: list[int | None] = []
    last: tuple[int, int] | None = None
    count = 0
    for i in order.tolist():
        here = (int(terminal[i]), int(t[i]))
        if last is None or here[0] != last[0] or here[1] - last[1] > ATTACK_GAP_S:
            found.append(None)
            count = 0
        last = here
        count += 1
        if alert[i] and found[-1] is None:
            found[-1] = count
    return found


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
        "histogram": {
            "edges": edges.tolist(), "counts": np.histogram(counts, edges)[0].tolist()
        },
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
