# SPDX-License-Identifier: Apache-2.0
"""The interval of expected frauds holds what comes 95 times of 100, or the test says so.

Worlds where the truth is known: probabilities are right, frauds come together, tables are fitted to
a sample. The interval of independent rows is the control that fails in them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.transactions import labelled
from tinyfin.evaluation.calibration_interval import Terms, joined, promise
from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.evaluation.folds import Fold
from tinyfin.evaluation.subgroups import by_slice
from tinyfin.evaluation.summary import pooled
from tinyfin.results.evaluation import Promised, SliceFigures
from tinyfin.results.parity import Distance
from tinyfin.results.run import RunFacts
from tinyfin.training.monotone_curve import fit_curve
from tinyfin.training.run_folder import RunFolder
from tinyfin.training.split import Split

WORLDS = 300
CARDS, EACH = 150, 20


def together(seed: int, by_card: float, by_terminal: float) -> tuple[Terms, list[np.ndarray]]:
    """Rows whose p is right each by itself; a share of them stands or falls with its card, another
    with its terminal."""
    rng = np.random.default_rng(seed)
    n = CARDS * EACH
    card, terminal = np.repeat(np.arange(CARDS), EACH), rng.integers(0, CARDS, n)
    p = 1 / (1 + np.exp(-rng.normal(1.5, 1, n)))
    chance, way = rng.random(n), rng.random(n)
    chance = np.where(way < by_card, rng.random(CARDS)[card], chance)
    chance = np.where(way > 1 - by_terminal, rng.random(CARDS)[terminal], chance)
    return Terms(np.arange(n), np.ones(n), chance < p, p), [card, terminal]


def held(found: list[Promised], name: str) -> float:
    return float(np.mean([bool(getattr(f, name)) for f in found]))


@pytest.mark.parametrize(
    ("by_card", "by_terminal"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)]
)
def test_it_holds_however_frauds_come_together(by_card: float, by_terminal: float) -> None:
    found = []
    for seed in range(WORLDS):
        terms, groups = together(seed, by_card, by_terminal)
        found.append(promise(terms, None, groups))
    assert 0.91 <= held(found, "within") <= 0.985
    if by_card or by_terminal:
        assert held(found, "within_independent") < 0.75
        off = [f.observed - f.expected for f in found]
        spread = np.sqrt(np.mean([f.standard_deviation**2 for f in found]))
        assert spread == pytest.approx(np.std(off), rel=0.12)
    else:
        assert held(found, "within_independent") >= 0.91


def test_a_group_that_is_not_named_is_not_seen() -> None:
    found = [
        promise(terms, None, groups[:1])
        for terms, groups in (together(seed, 0.0, 0.5) for seed in range(WORLDS))
    ]
    assert held(found, "within") < 0.75


def test_probabilities_that_promise_too_much_fall_outside() -> None:
    found = []
    for seed in range(40):
        terms, groups = together(seed, 0.3, 0.3)
        odds = 1.8 * terms.probability / (1 - terms.probability)
        wrong = Terms(terms.row, terms.weight, terms.fraud, odds / (1 + odds))
        found.append(promise(wrong, None, groups))
    assert held(found, "within") < 0.1


def test_a_table_fitted_to_few_frauds_is_not_taken_as_exact() -> None:
    blind, honest = [], []
    for seed in range(WORLDS):
        rng = np.random.default_rng(seed)
        logit = rng.normal(-4, 2, 12_000)
        raw = np.rint(30 * logit).astype(np.int32)
        fraud = rng.random(len(raw)) < 1 / (1 + np.exp(-logit))
        old, new = np.arange(3000), np.arange(3000, len(raw))
        curve = fit_curve(raw[old], fraud[old])
        new = new[curve(raw[new]) > 0.3]
        tested = Terms(new, np.ones(len(new)), fraud[new], curve(raw[new]))
        learned = Terms(old, -curve.sensitivity(raw[old], raw[new]), fraud[old], curve(raw[old]))
        blind.append(promise(tested))
        honest.append(promise(tested, learned))
    assert held(blind, "within") < 0.8
    assert 0.91 <= held(honest, "within") <= 0.985


def test_a_row_that_is_tested_and_learned_from_counts_once() -> None:
    row, one, p = np.arange(4), np.ones(4), np.full(4, 0.5)
    fraud = np.array([True, False, True, True])
    tested = Terms(row, one, fraud, p)
    undone = promise(tested, Terms(row, -one, fraud, p))
    assert undone.standard_deviation == undone.independent_standard_deviation == 1.0
    twice = joined([tested, tested])
    assert promise(twice).standard_deviation == pytest.approx(2.0)
    assert promise(tested).expected == 2.0
    assert promise(tested).observed == 3


def test_nothing_alerted_promises_nothing() -> None:
    nothing = Terms(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool), np.zeros(0))
    found = promise(nothing, None, [np.arange(5), np.arange(5)])
    assert (found.rows, found.expected, found.observed, found.within) == (0, 0, 0, True)


def test_a_slice_whose_frauds_come_together_is_not_behind_and_one_that_is_off_is() -> None:
    rng = np.random.default_rng(0)
    learned, each, terminals = 2000, 100, 60
    n = each * terminals
    terminal = np.concatenate([rng.integers(0, terminals, learned), np.arange(n) // each])
    high = terminal >= terminals // 2
    # right on average, but five of thirty terminals have nothing else; and promised three times
    fraud = np.where(
        high & (np.arange(learned + n) >= learned), terminal % 6 == 0, rng.random(learned + n) < 0.1
    )
    t = np.arange(learned + n)
    tx = replace(
        labelled(t, fraud, t),
        terminal=terminal.astype(np.int32),
        terminals=tuple(map(str, range(terminals))),
    )
    tx.values[:, tx.schema.index("amount_minor")] = np.where(high, 50_000, 500)
    p = np.where(high, 0.1, 0.3)
    action = rng.integers(0, 2, learned + n).astype(np.uint8)
    raw = rng.integers(-50, 50, learned + n).astype(np.int32)

    def scored(rows: np.ndarray) -> FoldScores:
        none = np.zeros(0, np.int64)
        split = Split(none, none, np.arange(learned), rows, 0, 0, 0, learned, len(t), 0, 0, 0, 0)
        return FoldScores(
            Fold("week", split, None, False),
            RunFolder(Path()),
            rows,
            {MAIN: raw[rows]},
            {MAIN: p[rows]},
            True,
            action[rows],
            np.zeros((len(rows), 3), np.uint16),
            np.zeros(len(rows), np.uint16),
            None,
            raw[:learned],
            RunFacts.model_construct(),
            None,
            Distance(differing_bytes=0, max_abs_difference=0),
        )

    rows = np.arange(learned, learned + n)
    found = pooled(tx, [scored(rows[:1700]), scored(rows[1700:])], {}).slices
    alone = by_slice(tx, rows, action[rows] > 0, p[rows], lambda mask: False)
    assert behind(found) == {"up to 1,000": ["calibration"], "over 30,000": []}
    assert behind(alone) == {"up to 1,000": ["calibration"], "over 30,000": ["calibration"]}


def behind(slices: list[SliceFigures]) -> dict[object, object]:
    return {s.slice: s.behind for s in slices if s.kind.startswith("amount")}
