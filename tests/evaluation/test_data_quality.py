# SPDX-License-Identifier: Apache-2.0
"""What is the matter with the data is found where it was put, and nothing in an honest world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinyfin.config import Config, from_table
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.data_quality import DRIFT, SUSPECT_AUC, quality
from tinyfin.results.evaluation import Quality
from tinyfin.simulator import simulate, write

NAMES = ("plain", "leaky", "moved")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Transactions]:
    config = from_table({"simulate": {"terminals": 4, "days": 20, "seed": 3}})
    path = tmp_path_factory.mktemp("quality") / "town.parquet"
    write(simulate(config.simulate), path)
    return config, read(path, config)


def found(config: Config, tx: Transactions, features: np.ndarray) -> Quality:
    half = len(tx) // 2
    rows = np.arange(len(tx))
    return quality(tx, config, features.astype(np.int16), NAMES, rows[:half], rows[half:])


def features_of(tx: Transactions, *, leak: bool, move: bool) -> np.ndarray:
    rng = np.random.default_rng(1)
    out = rng.integers(0, 1000, (len(tx), 3))
    if leak:
        out[:, 1] += 2000 * (tx.label == 1)
    if move:
        out[len(tx) // 2 :, 2] += 500
    return out


def test_an_honest_world_has_no_suspects(world: tuple[Config, Transactions]) -> None:
    config, tx = world
    assert np.count_nonzero(tx.label[: len(tx) // 2] == 1) > 5
    q = found(config, tx, features_of(tx, leak=False, move=False))
    assert q.leakage == []
    assert all(d.stability_index < DRIFT for d in q.drift)
    assert (q.duplicate_ids, q.duplicate_rows, q.duplicates_of_other_label) == (0, 0, 0)
    assert q.unlabelled == 0
    assert q.label_delay_days["median"] == pytest.approx(q.label_delay_configured_days)


def test_a_feature_that_knows_the_label_and_one_that_moved_are_named(
    world: tuple[Config, Transactions],
) -> None:
    config, tx = world
    q = found(config, tx, features_of(tx, leak=True, move=True))
    assert [s.column for s in q.leakage] == ["leaky"]
    assert q.leakage[0].roc_auc > SUSPECT_AUC
    assert [d.feature for d in q.drift if d.stability_index >= DRIFT] == ["moved"]


def test_a_file_sorted_by_its_label_is_suspect(world: tuple[Config, Transactions]) -> None:
    config, tx = world
    order = np.argsort(np.argsort(-tx.label.astype(np.int64), kind="stable"))
    q = found(
        config, replace(tx, row=order.astype(tx.row.dtype)), features_of(tx, leak=False, move=False)
    )
    assert [s.column for s in q.leakage] == ["(order of rows)"]


def test_rows_that_are_there_twice_are_counted_and_those_that_contradict_each_other(
    world: tuple[Config, Transactions],
) -> None:
    config, tx = world
    twice = tx.take(np.sort(np.concatenate([np.arange(len(tx)), [5, 9, 9, 40]])))
    q = found(config, twice, features_of(twice, leak=False, move=False))
    assert (q.duplicate_ids, q.duplicate_rows, q.duplicates_of_other_label) == (4, 4, 0)
    label = twice.label.copy()
    label[6] = 1 - label[6]  # the second of the two rows 5
    known = label.copy()
    known[100:200] = -1
    q = found(config, replace(twice, label=label), features_of(twice, leak=False, move=False))
    assert q.duplicates_of_other_label == 1
    q = found(config, replace(twice, label=known), features_of(twice, leak=False, move=False))
    assert q.unlabelled == 100
