# SPDX-License-Identifier: Apache-2.0
"""What the replayed verdicts caught, and what they cost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.attacks import ATTACK_GAP_S, by_scenario
from tinyfin.hil.replay.facts import Instructions
from tinyfin.hil.reporting.report import Caught, CountedPart, Histogram, InstructionFacts

__all__ = ["caught", "instruction_facts", "replayed_probability"]

_Q32 = float(1 << 32)
_WEEK_S = 7 * 86400
_BINS = 48


def caught(tx: Transactions, rows: npt.NDArray[np.int64], action: npt.NDArray[np.uint8]) -> Caught:
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
    return Caught(
        rows=len(rows),
        terminals=terminals,
        weeks=weeks,
        genuine=int(np.count_nonzero(genuine)),
        frauds=int(np.count_nonzero(fraud)),
        unknown=int(np.count_nonzero(label < 0)),
        alerts=int(np.count_nonzero(alert)),
        frauds_alerted=int(np.count_nonzero(alert & fraud)),
        false_alerts=false,
        false_alerts_per_1000=_share(1000.0 * false, int(np.count_nonzero(genuine))),
        false_alerts_per_terminal_week=_share(false, terminals * weeks),
        attack_gap_s=ATTACK_GAP_S,
        scenarios=by_scenario(tx, rows, action),
    )


def replayed_probability(score_q32: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of verdicts."""
    return score_q32.astype(np.float64) / _Q32


def instruction_facts(
    target: str, counts: npt.NDArray[np.int64], action: npt.NDArray[np.uint8]
) -> InstructionFacts:
    """Median, 99.9 %, maximum and a histogram of instructions per transaction."""
    low, high = int(counts.min()), int(counts.max())
    edges = np.linspace(low, max(high, low + 1), _BINS + 1)
    bins = np.histogram(counts, edges)[0]
    out = InstructionFacts(
        target=target,
        **dict(Instructions.of(counts)),
        count=len(counts),
        min=low,
        histogram=Histogram(edges=edges.tolist(), counts=bins.tolist()),
    )
    if len(action) == len(counts):
        for name, mask in (("accepted", action == 0), ("alerted", action > 0)):
            if np.any(mask):
                mine = counts[mask]
                part = CountedPart(**dict(Instructions.of(mine)), count=len(mine))
                setattr(out, name, part)
    return out


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
