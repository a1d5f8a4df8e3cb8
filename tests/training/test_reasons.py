# SPDX-License-Identifier: Apache-2.0
"""The reference model says what the attack is, not only that there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyfin.config import load
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.evaluation.attacks import EXPECTED_REASONS, reasons_by_scenario
from tinyfin.results.evaluation import ScenarioReasons
from tinyfin.twin import Twin

PAYMENT = Path(__file__).parents[2] / "models" / "payment"
REFUNDING = {"distraction_refund", "stolen_terminal", "refund_layering", "colluding_operator"}
"""Attacks that pay out by refunds: what is true of one is true of all."""


@pytest.fixture(scope="module")
def told(unseen_town: Path) -> dict[str, ScenarioReasons]:
    """Reasons of the reference model in a town that it has not seen."""
    config = load(PAYMENT / "tinyfin.toml")
    tx = read([unseen_town], config)
    twin = Twin((PAYMENT / "model.tfpack").read_bytes(), terminals=len(tx.terminals))
    replay = twin.run(tx, event_stream(tx, config.data.notices))
    counted = np.arange(3)[None, :] < replay.reason_count[:, None]
    reasons = np.where(counted, replay.reasons, 0).astype(np.uint16)
    rows = np.flatnonzero(tx.t_mono_s >= tx.t_mono_s.min() + 10 * 86_400)
    found = reasons_by_scenario(tx, rows, replay.action[rows], reasons[rows], {})
    return {row.scenario: row for row in found}


@pytest.mark.parametrize("scenario", sorted(EXPECTED_REASONS))
def test_the_expected_reason_is_among_the_first_three(
    told: dict[str, ScenarioReasons], scenario: str
) -> None:
    assert told[scenario].alerted > 0
    assert told[scenario].told > 0.5, told[scenario]


def test_a_reason_is_not_given_to_everything(told: dict[str, ScenarioReasons]) -> None:
    """What makes the test above mean something: each scenario's reasons are its own."""
    for scenario, row in told.items():
        given = {one.reason: one.share for one in row.reasons}
        for other in ("forced_post", "fallback", "distraction_refund"):
            if other != scenario and not {other, scenario} <= REFUNDING:
                share = sum(given.get(reason, 0.0) for reason in EXPECTED_REASONS[other])
                assert share < 0.5, (scenario, other, given)
