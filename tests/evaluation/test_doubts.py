# SPDX-License-Identifier: Apache-2.0
"""Labels that were flipped are found among those that models doubt, others are not."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tinyfin.config import Features, Simulate, load
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.doubts import LISTED, _cross_fitted, doubts
from tinyfin.features.compiler import compile_program
from tinyfin.results.evaluation import Doubts
from tinyfin.schema import PAYMENT
from tinyfin.simulator import simulate
from tinyfin.training.dataset import compute_features

FEATURES = Features(names="default")
FLIPPED = 24


@pytest.fixture(scope="module")
def town() -> tuple[Transactions, npt.NDArray[np.int16]]:
    settings = Simulate(terminals=10, days=16, seed=3, attacks={"card_testing": 9.0})
    config = load()
    tx = read(simulate(settings), config)
    return tx, compute_features(tx, config, compile_program(FEATURES, PAYMENT))


def flipped(tx: Transactions) -> tuple[Transactions, npt.NDArray[np.int64]]:
    """``tx`` with the labels of so many frauds and so many genuine rows turned round, and those."""
    rng = np.random.default_rng(8)
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(tx.label == kind), FLIPPED, False) for kind in (0, 1)]
    )
    label = tx.label.copy()
    label[rows] = 1 - label[rows]
    return replace(tx, label=label), rows


def listed(found: Doubts | None, label: str) -> set[int]:
    assert found is not None
    return {one.input_row for one in found.labels if one.label == label}


def test_flipped_labels_are_found_and_others_are_not(
    town: tuple[Transactions, npt.NDArray[np.int16]],
) -> None:
    tx, features = town
    wrong, rows = flipped(tx)
    found, kept = (doubts(x, features, FEATURES, 1) for x in (wrong, tx))
    assert found is not None
    assert len(found.labels) == LISTED
    for label in ("fraud", "genuine"):
        own = [one for one in found.labels if one.label == label]
        assert [one.rank for one in own] == list(range(1, len(own) + 1))
        scores = [one.score for one in own]
        assert scores == sorted(scores, reverse=label == "genuine")
        kind = int(label == "fraud")
        now = {int(row) for row in rows if wrong.label[row] == kind}
        by_chance = len(own) * len(now) / np.count_nonzero(wrong.label == kind)
        hits = len(listed(found, label) & now)
        assert hits > max(3 * by_chance, FLIPPED // 2), (label, hits, by_chance)
        # control: with the labels as they were, the same rows are listed as seldom as any others
        before = len((listed(kept, "fraud") | listed(kept, "genuine")) & now)
        assert before <= FLIPPED // 6, (label, before)


def test_no_model_judges_a_terminal_that_it_has_seen() -> None:
    """A column that gives away the labels of each terminal's own rows helps no model."""
    rng = np.random.default_rng(2)
    terminal = np.repeat(np.arange(10), 300)
    fraud = rng.random(len(terminal)) < 0.3
    turned = rng.permutation(10)[terminal] % 2 == 1
    column = (2 * terminal + (fraud != turned))[:, None].astype(np.int16)
    held_out, parts = _cross_fitted(column, fraud, terminal, 1)
    seen, _ = _cross_fitted(column, fraud, None, 1)
    assert parts == 5
    assert np.mean(seen[fraud]) > 0.9, "the column says nothing: no control"
    assert np.mean(held_out[fraud]) < 0.6


def test_few_frauds_give_no_list(town: tuple[Transactions, npt.NDArray[np.int16]]) -> None:
    tx, features = town
    frauds = np.flatnonzero(tx.label == 1)[9:]
    label = tx.label.copy()
    label[frauds] = -1
    assert doubts(replace(tx, label=label), features, FEATURES, 1) is None


def test_an_evaluation_lists_them(judged: Path) -> None:
    facts = json.loads((judged / "evaluation.json").read_text())["doubts"]
    assert facts["held_out"] == "terminals"
    with (judged / "doubted_labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["input_row"] for row in rows] == [str(x["input_row"]) for x in facts["labels"]]
    assert 0 < len(rows) <= LISTED
    page = (judged / "evaluation.html").read_text()
    assert "Frauds that look genuine" in page
    assert "Genuine transactions that look like fraud" in page
