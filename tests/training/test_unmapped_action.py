# SPDX-License-Identifier: Apache-2.0
"""Training says where a feature learns from actions that the file does not have."""

from __future__ import annotations

import pytest

from tests.support.actions import without_actions
from tests.support.sample import make_transactions
from tinyfin.config import from_table
from tinyfin.data.transactions import Transactions
from tinyfin.training.dataset import Dataset
from tinyfin.training.split import split_by_time


@pytest.mark.parametrize("what", ["action", "result"])
def test_what_no_row_tells_is_said(what: str) -> None:
    expression = f"run('terminal', outcome('{what}') == 1)"
    section = {"names": ["amt_log", "own"], "own": {"expression": expression}}
    config = from_table({"features": section})
    told = make_transactions()

    def said(tx: Transactions) -> bool:
        notes: list[str] = []
        until_s = int(tx.t_mono_s.max()) + 1
        Dataset(tx, ()).featured(config, split_by_time(tx, until_s=until_s), note=notes.append)
        return any("own learns from the action taken" in note for note in notes)

    assert not said(told)
    assert said(without_actions(told)) == (what == "action")
