# SPDX-License-Identifier: Apache-2.0
"""The order of events, and that labels travel as notices only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transactions import transactions
from tinyfin.data.events import NOTICE, OUTCOME, SCORE, Notices, Stream, event_stream
from tinyfin.data.transactions import NO_RESULT, Transactions
from tinyfin.errors import ConfigError


def plain_rows(
    times: list[int],
    *,
    delays: list[int] | int = 0,
    labels: list[int] | int = -1,
    known: list[int] | int = 0,
    result: list[int] | int = 0,
) -> Transactions:
    """Rows with the given times, outcome delays, labels and label delays."""
    t = np.array(times)
    every = np.zeros(len(t), int)
    return transactions(
        t,
        outcome_t_mono_s=t + delays,
        label=every + labels,
        label_known_s=t + known,
        result=every + result,
    )


def events(stream: Stream) -> list[tuple[int, int, int]]:
    return list(
        zip(stream.t_mono_s.tolist(), stream.kind.tolist(), stream.index.tolist(), strict=True)
    )


def test_unsorted_rows_are_played_in_order_of_time() -> None:
    stream = event_stream(plain_rows([30, 10, 20], delays=[1, 1, 1]))
    assert events(stream) == [
        (10, SCORE, 1),
        (11, OUTCOME, 1),
        (20, SCORE, 2),
        (21, OUTCOME, 2),
        (30, SCORE, 0),
        (31, OUTCOME, 0),
    ]


def test_ties_go_notice_outcome_score_and_by_row() -> None:
    tx = plain_rows(
        [100, 90, 80, 100], delays=[5, 10, 1, 5], labels=[-1, -1, 1, -1], known=[0, 0, 20, 0]
    )
    at_100 = [event[1:] for event in events(event_stream(tx)) if event[0] == 100]
    assert at_100 == [(NOTICE, 2), (OUTCOME, 1), (SCORE, 0), (SCORE, 3)]


def test_what_is_known_at_once_follows_its_own_score() -> None:
    tx = plain_rows([5, 5], labels=[1, 0])
    assert [event[1:] for event in events(event_stream(tx))] == [
        (SCORE, 0),
        (OUTCOME, 0),
        (NOTICE, 0),
        (SCORE, 1),
        (OUTCOME, 1),
        (NOTICE, 1),
    ]


def test_no_result_means_no_outcome() -> None:
    stream = event_stream(plain_rows([1, 2], result=[NO_RESULT, 1]))
    assert stream.index[stream.kind == OUTCOME].tolist() == [1]


@pytest.mark.parametrize(("notices", "told"), [("both", [0, 1]), ("fraud_only", [1]), ("none", [])])
def test_notices(notices: Notices, told: list[int]) -> None:
    tx = plain_rows([1, 2, 3], labels=[0, 1, -1], known=[100, 100, 100])
    stream = event_stream(tx, notices)
    assert stream.index[stream.kind == NOTICE].tolist() == told
    assert len(stream) == 6 + len(told)


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="fraud_only"):
        event_stream(plain_rows([1]), "all")  # type: ignore[arg-type]  # what is refused


def test_no_transactions_no_events() -> None:
    assert len(event_stream(plain_rows([]))) == 0


rows = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.integers(0, 5),
        st.integers(-1, 1),
        st.integers(0, 30),
        st.sampled_from([0, 1, NO_RESULT]),
    ),
    min_size=1,
    max_size=25,
)


def build(data: list[tuple[int, int, int, int, int]]) -> Transactions:
    times, delays, labels, known, result = (list(column) for column in zip(*data, strict=True))
    return plain_rows(times, delays=delays, labels=labels, known=known, result=result)


@given(rows)
def test_every_event_is_there_once_and_after_its_score(data: Any) -> None:
    tx = build(data)
    seen: dict[int, list[int]] = {}
    last = -1
    for time, kind, index in events(event_stream(tx)):
        assert time >= last
        last = time
        assert (index not in seen) == (kind == SCORE)
        seen.setdefault(index, []).append(kind)
    for index, kinds in seen.items():
        expected = {SCORE}
        expected |= {OUTCOME} if tx.result[index] != NO_RESULT else set()
        expected |= {NOTICE} if tx.label[index] >= 0 else set()
        assert sorted(kinds) == sorted(expected)


@given(rows, st.integers(0, 60))
def test_labels_that_become_known_later_change_nothing_before(data: Any, horizon: int) -> None:
    tx = build(data)
    late = tx.label_known_s > horizon
    flipped = replace(tx, label=np.where(late & (tx.label >= 0), 1 - tx.label, tx.label))
    before = event_stream(tx)
    after = event_stream(flipped)
    early = before.t_mono_s <= horizon
    assert events(before)[: early.sum()] == events(after)[: early.sum()]


def test_a_stream_that_leaks_labels_is_caught() -> None:
    # negative control: the same comparison, on notices sent too early, must differ
    tx = plain_rows([1, 2, 3], labels=[0, 1, 0], known=[50, 50, 50])
    leaking = replace(tx, label_known_s=tx.t_mono_s)
    flipped = replace(leaking, label=np.array([0, 0, 0], np.int8))
    before = events(event_stream(leaking, "fraud_only"))
    after = events(event_stream(flipped, "fraud_only"))
    assert [event for event in before if event[0] <= 10] != [
        event for event in after if event[0] <= 10
    ]
