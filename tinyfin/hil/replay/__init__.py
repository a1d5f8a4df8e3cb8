# SPDX-License-Identifier: Apache-2.0
"""The same events on a terminal and on the twin, compared byte for byte."""

from tinyfin.hil.replay.replayer import (
    CHECKPOINT_EVENTS,
    Mismatch,
    OnReboot,
    Repaired,
    ReplayResult,
    replay,
)

__all__ = ["CHECKPOINT_EVENTS", "Mismatch", "OnReboot", "Repaired", "ReplayResult", "replay"]
