# SPDX-License-Identifier: Apache-2.0
"""Tables and measures against plain loops over the words of the format; bounds against what chance
gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.errors import DataError
from tinyfin.oracle.numbers import log2_q8
from tinyfin.pack.probation import Look, Probation
from tinyfin.release import bounds as bounds_of
from tinyfin.release.bounds import region, wilks
from tinyfin.release.judgement import objections
from tinyfin.release.paired import (
    Windows,
    bins_of,
    cuts_of,
    failed_at,
    measures,
    stretches,
    tables_of,
)
from tinyfin.release.probation import Asked, default_looks, probation_of
from tinyfin.release.scored import Rows

BITS32 = st.integers(0, 2**32 - 1)


def plain(parent: list[int], own: list[int]) -> tuple[list[list[int]], int, int, int]:
    """Table, far, differ and psi_q10, event by event, as the format says it."""
    table = [[0] * 4 for _ in range(4)]
    far = differ = 0
    for a, b in zip(parent, own, strict=True):
        table[a][b] += 1
        far += abs(a - b) >= 2
        differ += a != b
    n, total = len(parent), 0
    for i in range(4):
        a = 2 * sum(row[i] for row in table) + 1
        b = 2 * sum(table[i]) + 1
        total += (a - b) * (log2_q8(a - 1) - log2_q8(b - 1))
    return table, far, differ, min(total * 2839 // (1024 * (2 * n + 4)), 65_535)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=300))
def test_measures_are_those_of_a_plain_loop(pairs: list[tuple[int, int]]) -> None:
    parent, own = (list(column) for column in zip(*pairs, strict=True))
    bins = [np.array([column, column[::-1]], np.int8) for column in (parent, own)]
    table, far, differ, psi = plain(parent, own)
    tables = tables_of(*bins)
    assert tables.tolist() == [table, table]
    assert [found.tolist() for found in measures(tables)] == [[far] * 2, [differ] * 2, [psi] * 2]


def test_the_index_is_the_stability_index() -> None:
    """With half an event more in each bin, in floats."""
    row, column = np.array([120, 50, 20, 10]), np.array([60, 70, 40, 30])
    p, q = (2 * row + 1) / 404, (2 * column + 1) / 404
    expected = np.sum((q - p) * np.log(q / p))
    own = [*([0] * 60), *([1] * 70), *([2] * 40), *([3] * 30)]
    parent = np.repeat(np.arange(4), row).tolist()
    assert plain(parent, own)[3] / 1024 == pytest.approx(expected, abs=0.003)


@given(st.lists(BITS32, min_size=4, max_size=80))
def test_cuts_ascend_and_bins_count_those_at_or_below(scores: list[int]) -> None:
    array = np.array(scores, np.uint32)
    if len(set(scores)) < 4:
        with pytest.raises(DataError, match="different scores"):
            cuts_of(array, "it")
        return
    cuts = cuts_of(array, "it")
    assert cuts[0] < cuts[1] < cuts[2]
    assert bins_of(array, cuts).tolist() == [sum(cut <= score for cut in cuts) for score in scores]
    assert set(bins_of(array, cuts).tolist()) == {0, 1, 2, 3}


def test_cuts_are_at_50_80_and_95_per_cent() -> None:
    assert cuts_of(np.random.default_rng(1).permutation(1000).astype(np.uint32), "it") == (
        500,
        800,
        950,
    )


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 7), st.booleans())
def test_windows_hold_a_terminals_events_in_order(
    terminal: list[int], length: int, first: bool
) -> None:
    expected = []
    for name in sorted(set(terminal)):
        rows = [i for i, t in enumerate(terminal) if t == name]
        many = len(rows) // length
        for k in range(min(many, 1) if first else many):
            expected.append(rows[k * length : (k + 1) * length])
    found = stretches(np.array(terminal, np.int64), length, first=first)
    assert found.tolist() == expected


PROB = Probation(
    bytes(16), (1, 2, 3), (1, 2, 3), (Look(4, 1, 2, 65_535), Look(8, 9, 9, 9)), alerts_more=1
)


def test_a_look_fails_by_what_comes_first_in_the_format() -> None:
    parent = np.array([[0] * 8, [0] * 8, [1] * 8, [0] * 8], np.int8)
    own = np.array([[3, 3, 0, 0] * 2, [1, 1, 1, 0] * 2, [0] * 8, [0] * 8], np.int8)
    alert = np.zeros((4, 8), bool)
    alarmed = alert.copy()
    alarmed[3, :2] = True
    windows = Windows(np.arange(4), parent, own, alert, alarmed)
    assert failed_at(PROB, windows).tolist() == [[0, 1, 1, 3], [2, 2, 2, 3]]
    loose = replace(PROB, looks=(Look(8, 8, 8, 65_535),), alerts_more=2)
    assert (failed_at(loose, windows) == -1).all()  # the control


def test_wilks_and_the_terminals_that_he_asks_for() -> None:
    assert wilks(2995) <= 0.001 < wilks(2994)
    assert wilks(59) == pytest.approx(0.05, abs=0.001)  # the textbook's 59 for 95 %, 95 %


def refused(many: int, rng: np.random.Generator, draws: int = 40) -> float:
    """Share of other terminals that bounds made from ``many`` refuse, by measures that share what
    is usual of a terminal and have tails of three kinds."""
    shares = []
    for _ in range(draws):
        usual = rng.gamma(2.0, size=(many + 5000, 1))
        noise = rng.gamma([1.0, 2.0, 6.0], size=(many + 5000, 3))
        values = np.floor(10 * np.sqrt(usual) + 8 * noise)
        made = region(values[:many], np.arange(many))
        shares.append(float((values[many:] > made.bounds).any(axis=1).mean()))
    return float(np.mean(shares))


@pytest.mark.parametrize("many", [50, 300, 3000])
def test_bounds_hold_on_terminals_that_were_used_for_nothing_else(many: int) -> None:
    assert refused(many, np.random.default_rng(many)) <= 0.001


def test_without_the_tail_carried_on_few_terminals_would_not_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control of the test above."""
    monkeypatch.setattr(bounds_of, "_carried_on", lambda *_: -np.inf)
    assert refused(50, np.random.default_rng(50)) > 0.005


@pytest.mark.parametrize(("many", "few"), [(50, 0.01), (300, 0.003)])
def test_what_is_promised_holds_where_a_few_terminals_are_of_another_kind(
    many: int, few: float
) -> None:
    """They are missing from most samples, so their tail says nothing of them: the aim of 0.1 % is
    missed, and the share that is said to be refused at most is not."""
    rng = np.random.default_rng(3)
    missed, broken = [], []
    for _ in range(100):
        far = rng.random((many + 20_000, 1)) < few
        values = rng.binomial(1000, np.where(far, 0.15, [[0.01, 0.1]])).astype(float)
        made = region(values[:many], np.arange(many))
        share = float((values[many:] > np.floor(made.bounds)).any(axis=1).mean())
        missed.append(share > 0.001)
        broken.append(share > made.refused_at_most)
    assert np.mean(broken) <= 0.1  # of 100 with 5 % each
    assert np.mean(missed) > 0.2


def test_a_terminal_counts_once_however_many_windows_it_has() -> None:
    rng = np.random.default_rng(2)
    values, terminal = rng.gamma(2, 9, (400, 2)), np.repeat(np.arange(40), 10)
    largest = values.reshape(40, 10, 2).max(axis=1)
    found, expected = region(values, terminal), region(largest, np.arange(40))
    assert found.bounds.tolist() == expected.bounds.tolist()
    assert (found.terminals, found.extrapolated) == (40, True)
    with pytest.raises(DataError, match="19 terminals have a whole window"):
        region(values[:190], terminal[:190])


def rows_of(terminals: int, events: int, noise: float, seed: int = 1) -> Rows:
    """Two packs whose scores share what is usual of a terminal and of an event."""
    rng = np.random.default_rng(seed)
    n = terminals * events
    terminal, at = (grid.ravel() for grid in np.indices((terminals, events)))
    shared = rng.normal(size=n) + rng.normal(size=terminals)[terminal]
    both = [(1 / (1 + np.exp(6 - shared - noise * rng.normal(size=n)))) for _ in range(2)]
    parent, own = ((p * 2.0**32).astype(np.uint32) for p in both)
    return Rows(
        terminal=terminal,
        t_s=60 * at,
        label=np.zeros(n, np.int8),
        own=own,
        own_advice=(own > np.quantile(own, 0.99)).astype(np.uint8),
        cold=at < 20,
        saturated=rng.random(n) < 0.001,
        parent=parent,
        parent_advice=(parent > np.quantile(parent, 0.99)).astype(np.uint8),
        group=np.full(n, -1),
        features=np.zeros((n, 1), np.int16),
    )


ASKED = Asked(bytes(16), True, (100, 200))


def test_bounds_refuse_what_is_no_model_and_no_terminal_of_their_own() -> None:
    made, facts = probation_of(rows := rows_of(120, 260, 0.1), ASKED)
    assert (failed_at(made, rows.windows(200)) == -1).all()
    assert facts.terminals == facts.windows == 120
    assert min(one.share[-1] for one in facts.sees[:3]) > 0.97
    assert len(objections(None, {}, facts, margin=0.01, allow=())) == 1
    constant = rows.windows(200, np.zeros_like(rows.own))
    assert (failed_at(made, constant) >= 0).any(axis=0).mean() > 0.97
    loose = replace(made, looks=tuple(Look(n, n, n, 65_535) for n in (100, 200)))
    assert (failed_at(loose, constant) == -1).all()  # the control: without bounds it passes
    assert facts.trial is not None
    assert facts.trial.events == made.trial_events == 100
    assert facts.trial.largest <= (made.trial_alerts, made.trial_saturated)


def test_a_candidate_that_shares_nothing_with_its_parent_cannot_be_judged() -> None:
    _, facts = probation_of(rows_of(120, 260, 5.0), ASKED)
    broken = objections(None, {}, facts, margin=0.01, allow=("too-different",))
    assert [(one.rule, one.allowed) for one in broken] == [
        ("no-labels", False),
        ("too-different", True),
    ]
    assert "scores of other events" in broken[1].text
    cold = facts.model_copy(update={"shadow": False})
    assert len(objections(None, {}, cold, margin=0.01, allow=())) == 1


def test_looks_are_those_that_half_of_the_terminals_reach() -> None:
    for events, looks in ((1020, (200, 500, 1000)), (1019, (200, 500)), (220, (200,))):
        assert default_looks(rows_of(20, events, 1.0)) == looks
    assert default_looks(rows_of(20, 219, 1.0)) == (50, 100)


def test_a_trial_that_begins_cold_has_a_terminals_first_events() -> None:
    rows = rows_of(30, 300, 0.1)
    terminal, alerts, _ = rows.trials(100, cold=True)
    assert terminal.tolist() == list(range(30))
    first = rows.own_advice.reshape(30, 300)[:, :100] > 0
    assert alerts.tolist() == first.sum(axis=1).tolist()
    terminal, alerts, _ = rows.trials(100, cold=False)
    later = rows.own_advice.reshape(30, 300)[:, 20:220].reshape(60, 100) > 0
    assert terminal.tolist() == np.repeat(np.arange(30), 2).tolist()
    assert alerts.tolist() == later.sum(axis=1).tolist()
