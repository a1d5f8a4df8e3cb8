# SPDX-License-Identifier: Apache-2.0
"""Replays in a test: every verdict and the state must equal the workstation's."""

from __future__ import annotations

import pytest


def test_equal_on_a_clean_line(replay):
    result = replay(days=6, limit=60)
    assert result.verdicts == 60
    assert result.retransmitted == 0


@pytest.mark.capability("reboot")
def test_equal_on_a_bad_line_with_restarts(replay):
    result = replay(days=6, limit=60, checkpoint_events=40, chaos="fault=1/1000,reboot=1/60,seed=3")
    assert result.lost == result.doubled == result.mismatches == 0
    assert result.repaired.any


def test_equal_when_clocks_jump(replay):
    jump = {"kind": "clock-jump", "at": [0.3, 0.6], "seconds": -86_400}
    assert replay(days=6, limit=60, change=[jump]).ok
