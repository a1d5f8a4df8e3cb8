# SPDX-License-Identifier: Apache-2.0
"""The order of events, and that labels travel as notices only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.data.events import NOTICE, OUTCOME, SCORE, Notices, Stream, event_stream
from tinyfin.data.transactions import NO_RESULT, Transactions
from tinyfin.errors import ConfigError
from tinyfin.schema import PAYMENT


def transactions(
    times: list[int],
    *,
    delays: list[int] | None = None,
    labels: list[int] | None = None,
    known: list[int] | None = None,
    result: list[int] | None = None,
) -> Transactions:
    """Rows with the given times, outcome delays, labels and label delays."""
    n = len(times)
    t = np.array(times, np.uint32)

    def later(steps: list[int] | None) -> Any:
        return t + np.array(steps if steps is not None else [0] * n, np.uint32)

    return Transactions(
        schema=PAYMENT,
        row=np.arange(n, dtype=np.int64),
        terminal=np.zeros(n, np.int32),
        terminals=("0",),
        id=np.arange(n, dtype=np.uint64),
        t_mono_s=t,
        t_local_s=t,
        values=np.zeros((n, len(PAYMENT.fields)), np.int64),
        present=np.zeros(n, np.uint32),
        result=np.array(result if result is not None else [0] * n, np.uint8),
        response=np.full(n, -1, np.int32),
        action=np.zeros(n, np.uint8),
        outcome_t_mono_s=later(delays),
        label=np.array(labels if labels is not None else [-1] * n, np.int8),
        label_known_s=later(known),
        scenario=None,
        scenario_code=np.zeros(n, np.int16),
    )


def events(stream: Stream) -> list[tuple[int, int, int]]:
    return list(
        zip(stream.t_mono_s.tolist(), stream.kind.tolist(), stream.index.tolist(), strict=True)
    )


def test_unsorted_rows_are_played_in_order_of_time() -> None:
    stream = event_stream(transactions([30, 10, 20], delays=[1, 1, 1]))
    assert events(stream) == [
        (10, SCORE, 1),
        (11, OUTCOME, 1),
        (20, SCORE, 2),
        (21, OUTCOME, 2),
        (30, SCORE, 0),
        (31, OUTCOME, 0),
    ]


def test_ties_go_notice_outcome_score_and_by_row() -> None:
    tx = transactions(
        [100, 90, 80, 100], delays=[5, 10, 1, 5], labels=[-1, -1, 1, -1], known=[0, 0, 20, 0]
    )
    at_100 = [event[1:] for event in events(event_stream(tx)) if event[0] == 100]
    assert at_100 == [(NOTICE, 2), (OUTCOME, 1), (SCORE, 0), (SCORE, 3)]


def test_what_is_known_at_once_follows_its_own_score() -> None:
    tx = transactions([5, 5], labels=[1, 0])
    assert [event[1:] for event in events(event_stream(tx))] == [
        (SCORE, 0),
        (OUTCOME, 0),
        (NOTICE, 0),
        (SCORE, 1),
        (OUTCOME, 1),
        (NOTICE, 1),
    ]


def test_no_result_means_no_outcome() -> None:
    stream = event_stream(transactions([1, 2], result=[NO_RESULT, 1]))
    assert stream.index[stream.kind == OUTCOME].tolist() == [1]


@pytest.mark.parametrize(("notices", "told"), [("both", [0, 1]), ("fraud_only", [1]), ("none", [])])
def test_notices(notices: Notices, told: list[int]) -> None:
    tx = transactions([1, 2, 3], labels=[0, 1, -1], known=[100, 100, 100])
    stream = event_stream(tx, notices)
    assert stream.index[stream.kind == NOTICE].tolist() == told
    assert len(stream) == 6 + len(told)


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="fraud_only"):
        event_stream(transactions([1]), "all")  # type: ignore[arg-type]


def test_no_transactions_no_events() -> None:
    assert len(event_stream(transactions([]))) == 0


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
    return transactions(times, delays=delays, labels=labels, known=known, result=result)


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
    tx = transactions([1, 2, 3], labels=[0, 1, 0], known=[50, 50, 50])
    leaking = replace(tx, label_known_s=tx.t_mono_s)
    flipped = replace(leaking, label=np.array([0, 0, 0], np.int8))
    before = events(event_stream(leaking, "fraud_only"))
    after = events(event_stream(flipped, "fraud_only"))
    assert [event for event in before if event[0] <= 10] != [
        event for event in after if event[0] <= 10
    ]
