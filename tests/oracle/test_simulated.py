# SPDX-License-Identifier: Apache-2.0
"""The default features, and two that learn from actions, on simulated transactions: twin and
oracle agree, and no label leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.actions import (
    ACTION_FEATURES,
    program_with_actions,
    with_actions,
    without_actions,
)
from tests.support.packs import pack
from tinyfin import simulator
from tinyfin.config import Simulate, load
from tinyfin.data.events import NOTICE, OUTCOME, Stream, event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.features.compiler import Program
from tinyfin.oracle import OracleEngine
from tinyfin.schema import PAYMENT
from tinyfin.twin import Twin

COMPARED_EVENTS = 5000


@pytest.fixture(scope="module")
def program() -> Program:
    return program_with_actions()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Transactions:
    """Three weeks of eight terminals, labels known after four days."""
    folder: Path = tmp_path_factory.mktemp("town")
    settings = Simulate(terminals=8, days=21, seed=11, attacks={"card_testing": 4.0})
    simulator.write(with_actions(simulator.simulate(settings), 11), folder / "town.parquet")
    (folder / "tinyfin.toml").write_text('[data]\nlabel_delay = "4d"\n')
    return read(folder / "town.parquet", load(folder / "tinyfin.toml"))


def features_of(
    program: Program, tx: Transactions, stream: Stream
) -> tuple[npt.NDArray[np.int16], Twin]:
    twin = Twin(pack(PAYMENT, program.payload), terminals=len(tx.terminals))
    return twin.run(tx, stream).features, twin


def test_the_default_program_on_simulated_transactions(
    program: Program, town: Transactions
) -> None:
    stream = event_stream(town)
    count = min(COMPARED_EVENTS, len(stream))
    head = Stream(stream.kind[:count], stream.index[:count], stream.t_mono_s[:count])
    features, twin = features_of(program, town, head)
    token = PAYMENT.index("token")
    oracles = [OracleEngine(program.payload, PAYMENT) for _ in town.terminals]
    notices = 0
    for kind, row, t in zip(head.kind, head.index, head.t_mono_s, strict=True):
        oracle = oracles[town.terminal[row]]
        id, now = int(town.id[row]), int(t)
        values = [int(value) for value in town.values[row]]
        present = int(town.present[row])
        if kind == NOTICE:
            card = values[token] if present >> token & 1 else 0
            oracle.notice(id, card, now, int(town.t_mono_s[row]), int(town.label[row]))
            notices += 1
        elif kind == OUTCOME:
            said = int(town.result[row]), int(town.response[row]), int(town.action[row])
            oracle.outcome(id, now, *said)
        else:
            oracle.score(id, now, int(town.t_local_s[row]), values, present)
            assert oracle.features() == tuple(int(x) for x in features[row]), f"row {row}"
    assert notices > 100
    for terminal, oracle in enumerate(oracles):
        assert twin.stats(terminal) == oracle.stats()
        assert twin.export_state(terminal) == oracle.export_state(), town.terminals[terminal]


def test_only_what_learns_from_actions_sees_them(program: Program, town: Transactions) -> None:
    """Without the column the same features of the same rows are others, and no other feature."""
    told, _ = features_of(program, town, event_stream(town))
    mute = without_actions(town)
    untold, _ = features_of(program, mute, event_stream(mute))
    other = (told != untold).any(axis=0)
    assert tuple(np.array(program.feature_names)[other]) == ACTION_FEATURES


def flipped(tx: Transactions, rows: npt.NDArray[np.bool_]) -> Transactions:
    """``tx`` with the labels of ``rows`` turned round, known at the same times."""
    return replace(tx, label=np.where(rows & (tx.label >= 0), 1 - tx.label, tx.label))


def unlabelled(tx: Transactions, rows: npt.NDArray[np.bool_]) -> Transactions:
    """``tx`` without the labels of ``rows``."""
    return replace(tx, label=np.where(rows, np.int8(-1), tx.label))


def later(tx: Transactions, rows: npt.NDArray[np.bool_]) -> Transactions:
    """``tx`` with the labels of ``rows`` known ten days later."""
    known = np.where(rows, tx.label_known_s + np.uint32(10 * 86_400), tx.label_known_s)
    return replace(tx, label_known_s=known)


@pytest.mark.parametrize("change", [flipped, unlabelled, later])
def test_a_label_beyond_the_horizon_changes_no_feature_byte(
    program: Program, town: Transactions, change: object
) -> None:
    """Labels that become known after a time have no part in any feature before that time."""
    assert callable(change)
    start, end = int(town.t_mono_s.min()), int(town.t_mono_s.max())
    before, _ = features_of(program, town, event_stream(town))
    for horizon in (start + (end - start) // 3, start + 2 * (end - start) // 3):
        changed = change(town, town.label_known_s >= horizon)
        after, _ = features_of(program, changed, event_stream(changed))
        known = town.t_mono_s < horizon
        np.testing.assert_array_equal(after[known], before[known])
        assert not np.array_equal(after, before), "no label matters: the test proves nothing"


def test_a_label_within_the_horizon_would_be_seen(program: Program, town: Transactions) -> None:
    """Negative control: the same comparison fails when labels are known at once."""
    horizon = int(town.t_mono_s.min()) + 10 * 86_400
    leaky = replace(town, label_known_s=np.maximum(town.t_mono_s, town.outcome_t_mono_s))
    before, _ = features_of(program, leaky, event_stream(leaky))
    changed = flipped(leaky, town.label_known_s >= horizon)
    after, _ = features_of(program, changed, event_stream(changed))
    known = town.t_mono_s < horizon
    assert not np.array_equal(after[known], before[known])
