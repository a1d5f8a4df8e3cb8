# SPDX-License-Identifier: Apache-2.0
"""The reference model tells a person what the attack is, not only that there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyfin.config import Simulate, load
from tinyfin.data import simulator
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.training.evaluation.incidents import EXPECTED_REASONS, reasons_by_scenario
from tinyfin.twin import Twin

PAYMENT = Path(__file__).parents[2] / "models" / "payment"
NOT_TOLD = {"forced_post"}
"""Found, but for other reasons: the amount and the card say more than the approval code."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Reasons of the reference model in a town that it has not seen."""
    data = tmp_path_factory.mktemp("reasons") / "town.parquet"
    attacks = {"stolen_terminal": 3.0, "card_testing": 3.0, "split_sale": 3.0, "forced_post": 2.0}
    settings = Simulate(terminals=16, days=30, seed=99, attacks=attacks)
    simulator.write(simulator.simulate(settings), data)
    config = load(PAYMENT / "tinyfin.toml")
    tx = read([data], config)
    twin = Twin((PAYMENT / "model.tfpack").read_bytes(), terminals=len(tx.terminals))
    replay = twin.run(tx, event_stream(tx, config.data.notices))
    counted = np.arange(3)[None, :] < replay.reason_count[:, None]
    reasons = np.where(counted, replay.reasons, 0).astype(np.uint16)
    rows = np.flatnonzero(tx.t_mono_s >= tx.t_mono_s.min() + 10 * 86_400)
    found = reasons_by_scenario(tx, rows, replay.action[rows], reasons[rows])
    return {row["scenario"]: row for row in found}


@pytest.mark.parametrize("scenario", sorted(set(EXPECTED_REASONS) - NOT_TOLD))
def test_the_expected_reason_is_among_the_first_three(
    told: dict[str, dict[str, Any]], scenario: str
) -> None:
    assert told[scenario]["alerted"] > 0
    assert told[scenario]["told"] > 0.5, told[scenario]


def test_a_reason_that_is_not_given_is_seen_to_be_missing(
    told: dict[str, dict[str, Any]]
) -> None:
    for scenario in NOT_TOLD & set(told):
        assert told[scenario]["told"] < 0.5, "move it out of NOT_TOLD and say so in the docs"
