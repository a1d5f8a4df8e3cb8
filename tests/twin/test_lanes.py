# SPDX-License-Identifier: Apache-2.0
"""Many terminals at once give what each alone gives: features, flags, counters and state."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.operator_rig import SCHEMA
from tests.oracle.programs import programs
from tests.oracle.test_sabotage import every_operator
from tests.support.assembler import TERMINAL, Assembler
from tests.support.packs import pack
from tests.support.transactions import transactions
from tinyfin.data.events import NOTICE, OUTCOME, SCORE, event_stream
from tinyfin.data.transactions import NO_RESULT, Transactions
from tinyfin.twin import Twin

TOKEN_COLUMN = SCHEMA.index("token")


def crowd(seed: int, terminals: int, n: int) -> Transactions:
    """Busy and idle terminals, few cards, lost and late outcomes, labels, ids that come twice."""
    rng = np.random.default_rng(seed)
    terminal = (rng.random(n) ** 2 * terminals).astype(np.int32)
    t = np.sort(rng.integers(0, rng.choice([400, 40_000, 4_000_000]), n)).astype(np.uint32)
    amount = rng.choice([-5, 0, 1, 99, 100, 40_000, 2**31, 2**40, -(2**62), 2**63 - 1], n)
    values = np.stack(
        [
            rng.integers(-3, 9, n),
            amount,
            rng.integers(0, 9, n) * 0x0E3779B97F4A7C15,
            rng.integers(-1, 6, n),
            rng.integers(0, 2, n),
            rng.integers(0, 2, n),
            rng.integers(-(2**31), 2**31, n),
        ],
        axis=1,
    ).astype(np.int64)
    return transactions(
        t,
        SCHEMA,
        terminal=terminal,
        terminals=tuple(map(str, range(terminals))),
        id=rng.integers(0, n, n),
        t_local_s=rng.integers(0, 2**32, n),
        values=values,
        present=rng.choice([127, 126, 123, 0], n, p=[0.7, 0.1, 0.1, 0.1]),
        result=rng.choice([0, 1, 2, 3, 4, NO_RESULT], n),
        response=rng.integers(-1, 100, n),
        action=rng.integers(0, 3, n),
        outcome_t_mono_s=t + rng.choice([0, 0, 1, 900], n),
        label=rng.integers(-1, 2, n),
        label_known_s=t + rng.choice([0, 60, 5000], n),
    )


def learns_actions() -> Assembler:
    """The sum of all codes of actions at the terminal, whatever became of the events."""
    p = Assembler(token_field=TOKEN_COLUMN)
    taken = p.op("OUTCOME", p2=2, late=True)
    p.feature(p.op("WINDOW", taken, key=TERMINAL, p0=2**30, p2=2, p3=4))
    return p


def one_by_one(twin: Twin, tx: Transactions) -> tuple[np.ndarray, np.ndarray]:
    """Features and flags by the calls that an application makes, an event at a time."""
    features = np.zeros((len(tx), twin.feature_count), np.int16)
    flags = np.zeros(len(tx), np.uint16)
    stream = event_stream(tx)
    for kind, row, t in zip(stream.kind, stream.index, stream.t_mono_s, strict=True):
        at, id = int(tx.terminal[row]), int(tx.id[row])
        if kind == SCORE:
            values, present = tx.values[row], int(tx.present[row])
            verdict = twin.score(
                at, id, int(tx.t_mono_s[row]), int(tx.t_local_s[row]), values, present
            )
            features[row], flags[row] = twin.features(at), verdict.flags
        elif kind == OUTCOME:
            said = int(tx.result[row]), int(tx.response[row]), int(tx.action[row])
            twin.outcome(at, id, int(t), *said)
        else:
            assert kind == NOTICE
            there = int(tx.present[row]) >> TOKEN_COLUMN & 1
            token = int(tx.values[row, TOKEN_COLUMN]) if there else 0
            twin.notice(at, id, token, int(t), int(tx.t_mono_s[row]), int(tx.label[row] == 1))
    return features, flags


def same(program: Assembler, tx: Transactions, other: Transactions, threads: int = 1) -> bool:
    data = pack(SCHEMA, program.payload())
    together, alone = (Twin(data, terminals=len(tx.terminals)) for _ in range(2))
    replay = together.run(tx, event_stream(tx), threads=threads)
    features, flags = one_by_one(alone, other)
    return (
        np.array_equal(replay.features, features)
        and np.array_equal(replay.flags, flags)
        and all(together.export_state(t) == alone.export_state(t) for t in range(len(tx.terminals)))
    )


@settings(max_examples=25, deadline=None)
@given(program=programs(), seed=st.integers(0, 2**32 - 1), terminals=st.integers(1, 70))
def test_random_programs(program: Assembler, seed: int, terminals: int) -> None:
    tx = crowd(seed, terminals, 150)
    assert same(program, tx, tx)


@pytest.mark.parametrize(("terminals", "threads"), [(1, 1), (3, 2), (33, 1), (200, 3)])
def test_every_operator(terminals: int, threads: int) -> None:
    tx = crowd(terminals, terminals, 1500)
    assert same(every_operator(), tx, tx, threads)


def test_one_other_action_is_noticed() -> None:
    """The negative control of what an outcome says: the comparison sees a single action."""
    tx = crowd(7, 40, 300)
    tx = dataclasses.replace(tx, id=np.arange(300, dtype=np.uint64), outcome_t_mono_s=tx.t_mono_s)
    assert same(learns_actions(), tx, tx)
    action = tx.action.copy()
    some = np.flatnonzero(tx.result == 0)[20]
    action[some] = (action[some] + 1) % 3
    assert not same(learns_actions(), tx, dataclasses.replace(tx, action=action))


def test_one_other_amount_is_noticed() -> None:
    """The negative control: the comparison sees a single value of a single event."""
    tx = crowd(7, 40, 300)
    values = tx.values.copy()
    values[150, SCHEMA.index("amount")] += 1
    assert not same(every_operator(), tx, dataclasses.replace(tx, values=values))
