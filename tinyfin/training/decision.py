# SPDX-License-Identifier: Apache-2.0
"""Thresholds: from a budget of false alerts, or as probabilities somebody chose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.config import Decision as DecisionSection
from tinyfin.pack.calibration import Calibration, to_q32
from tinyfin.pack.decision import NEVER_Q32, Decision

__all__ = ["decide", "threshold_raw"]


def threshold_raw(
    raw: npt.NDArray[np.int32], label: npt.NDArray[np.int8], per_1000: float
) -> int | None:
    """The lowest raw score at which at most ``per_1000`` of 1000 genuine rows alert.

    None if the budget is 0.
    """
    if per_1000 <= 0:
        return None
    genuine = np.sort(raw[label != 1].astype(np.int64))[::-1]
    allowed = int(np.floor(per_1000 * len(genuine) / 1000.0))
    return int(genuine[-1]) if allowed >= len(genuine) else int(genuine[allowed]) + 1


def decide(
    section: DecisionSection,
    table: Calibration,
    raw: npt.NDArray[np.int32],
    label: npt.NDArray[np.int8],
    *,
    reasons: Sequence[int],
    references: Sequence[int],
) -> Decision:
    """The decision of a pack, thresholds set on the calibration rows.

    ``reasons`` and ``references`` (int8 codes of the training medians) are per feature.
    """

    def find(chosen: float | None, per_1000: float) -> int | None:
        if chosen is not None:
            return to_q32(chosen)
        at = threshold_raw(raw, label, per_1000)
        if at is None or at > table.raw[-1]:
            return None
        return int(table.evaluate(np.asarray([at], np.int64))[0])

    online = find(section.go_online, section.go_online_per_1000)
    decline = find(section.decline, section.decline_per_1000)
    low = NEVER_Q32 if online is None else online
    high = NEVER_Q32 if decline is None else max(low if online is not None else 0, decline)
    return Decision(
        reasons=tuple(reasons),
        references=tuple(references),
        go_online_q32=min(low, high),
        decline_q32=high,
        never_online=online is None,
        never_decline=decline is None,
        control_share_q16=min(round(section.control_share * 65536), 65535),
        cold_events=section.cold_events,
        cold_s=section.cold,
    )
