# SPDX-License-Identifier: Apache-2.0
"""The members of a campaign, and what their reports say of its pack.

A campaign has n members, which are terminals. What is known of all of them is one array for each
fact, so that a tick over a million terminals is a few operations on arrays. Where the arrays come
from is not the controller's concern: from the lake of a fleet, or from terminals that are
simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "CELLS", "NEVER", "OPEN_STAGES", "SILENT_STAGES", "Seen", "Stage"]

CELLS = 16
"""Counts of the paired table of a probation: row of the pack that runs, column of the new one."""
BINS = 16
"""Counts of a score's histogram; those that a pack does not have are 0."""
NEVER = -1
"""In place of an hour: it has not happened."""

Hours = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]


class Stage(IntEnum):
    """Where a member is. Its reports alone move it, but for the offer and the three that a wait
    ends in, which count as failures: SILENT, NOT_TAKEN and GONE."""

    TARGETED = 0
    """Nothing was offered to it."""
    OFFERED = 1
    STAGED = 2
    SHADOW = 3
    TRIAL = 4
    CONFIRMED = 5
    FELL_BACK = 6
    """The terminal gave the pack up, for a reason of its journal."""
    SILENT = 7
    """No report since so many days, after the offer."""
    NOT_TAKEN = 8
    """It reports, and has not taken the pack after so many days."""
    GONE = 9
    """Silent, after it had confirmed the pack: if it reports without it, it has left it."""


OPEN_STAGES = (Stage.OFFERED, Stage.STAGED, Stage.SHADOW, Stage.TRIAL)
"""Of members that were offered the pack and have not ended."""
SILENT_STAGES = (Stage.SILENT, Stage.GONE)


@dataclass
class Seen:
    """What genuine reports had said of each member by a moment. Hours count from 2000-01-01, UTC.

    *Before* is the week before the member was offered the pack, under the parent. *After* begins
    when the new pack runs, on trial or confirmed. Counts that no report has are 0.
    """

    heard_h: Hours
    """int64[n]: of the newest report; :data:`NEVER`: there is none."""
    stage: npt.NDArray[np.uint8]
    """uint8[n]: what the newest report says of the campaign's pack: TARGETED (nothing), STAGED,
    SHADOW, TRIAL, CONFIRMED or FELL_BACK."""
    pair: Counts
    """int64[n]: of a member that was not offered the pack, and runs the parent: another one that
    has confirmed it. Its scores are the parent's, at the times of the other one's: what the world
    has changed without the pack. NEVER: it has none."""
    falls: Counts
    """int64[n]: reports since the offer that say FELL_BACK, of whatever age."""
    table: npt.NDArray[np.int32]
    """int32[n, 16]: the paired table of the pack's shadow, from the newest report that has one."""
    alerts: Counts
    """int64[n]: in the shadow, of the new pack."""
    parent_alerts: Counts
    """int64[n]: in the same events, of the pack that ran."""
    events_before: Counts
    """int64[n]: events that were scored."""
    events_after: Counts
    saturated_before: Counts
    """int64[n]: values that touched the limits of the arithmetic."""
    saturated_after: Counts
    faults_before: Counts
    """int64[n]: restarts after a fault."""
    faults_after: Counts
    hours_before: Counts
    """int64[n]: that reports cover."""
    hours_after: Counts
    scores_before: npt.NDArray[np.int32]
    """int32[n, 16]: events by bin of the parent's score, as its pack's DRFT has the bins."""
    scores_after: npt.NDArray[np.int32]
    """int32[n, 16]: of the new pack's score, in its own bins: since it was confirmed, in the last
    week at most. What ``scores_first`` has is not in it."""
    scores_first: npt.NDArray[np.int32]
    """int32[n, 16]: the same, until the pack was confirmed: what it was confirmed for."""

    def __len__(self) -> int:
        return len(self.heard_h)

    @classmethod
    def nothing(cls, members: int) -> Seen:
        """Of members that have never reported."""
        wide = {"table": CELLS, "scores_before": BINS, "scores_after": BINS, "scores_first": BINS}
        made: dict[str, npt.NDArray[np.integer]] = {}
        for one in fields(cls):
            if one.name in wide:
                made[one.name] = np.zeros((members, wide[one.name]), np.int32)
            else:
                made[one.name] = np.zeros(members, np.uint8 if one.name == "stage" else np.int64)
        made["heard_h"][:] = made["pair"][:] = NEVER
        return cls(**made)  # type: ignore[arg-type]
