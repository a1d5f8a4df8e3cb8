# SPDX-License-Identifier: Apache-2.0
"""What the odds of compromised cards are worth beside the host's other fields, week by week.

    tinyfin host-fields handbook.parquet --config models/handbook/tinyfin.toml --learn-until 2018-07-18 --odds odds.json --out handbook_odds.parquet
    python -m benchmarks.card_odds handbook_odds.parquet [--weeks 2018-07-25,2018-08-08]

XGBoost of one shape on the features of ``models/handbook_host``, without and with the two odds: on
all frauds and 120,000 genuine rows that were known when the week began, by weight all of them. The
week is the test; means of two seeds. What the features of terminals learn is learned once, of every
fourth terminal, from what was known when the first week began.
"""  # noqa: E501

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xgboost
from sklearn.metrics import average_precision_score

from tinyfin.config import Column, Config, load, parse_moment
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.features.catalogue import HOST_ODDS
from tinyfin.features.compiler import compile_program
from tinyfin.features.expressions import DAY_S
from tinyfin.schema import HOST_ODDS_FIELDS, PAYMENT_HOST_ODDS
from tinyfin.training.chunks import computed_features
from tinyfin.training.compromise import learn_compromise
from tinyfin.training.learned_cuts import learn_cuts
from tinyfin.training.populations import known_cards_removed
from tinyfin.training.split import known_labels

Features = npt.NDArray[np.int16]

BASE = Path(__file__).resolve().parents[1] / "models" / "handbook_host" / "tinyfin.toml"
WEEKS = "2018-07-18,2018-07-25,2018-08-01,2018-08-08"
GENUINE_ROWS, SEEDS, TREES = 120_000, (1, 2), 120
LEARNED_OF_EVERY = 4
SHAPE = {
    "objective": "binary:logistic",
    "max_depth": 5,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.4,
    "min_child_weight": 0.3,
    "lambda": 5,
    "tree_method": "hist",
    "nthread": 1,
}


def configuration() -> Config:
    """That of ``models/handbook_host``, with the schema and the columns that have the odds."""
    base = load(BASE)
    more = {spec.name: Column(column=spec.name) for spec in HOST_ODDS_FIELDS}
    data = base.data.model_copy(update={"columns": {**base.data.columns, **more}})
    return replace(base, schema=PAYMENT_HOST_ODDS, data=data)


def computed(tx: Transactions, config: Config, first: int) -> Features:
    """The features of all rows, those of HOST_ODDS last; learned before ``first``."""
    since = config.train.since or 0
    of_some = tx.terminal % LEARNED_OF_EVERY == 0
    rows = np.flatnonzero((tx.t_mono_s >= since) & (tx.t_mono_s < first) & of_some)
    label = known_labels(tx, first)
    config, _ = learn_cuts(config, tx, rows, label)
    config, _ = learn_compromise(config, tx, rows, label, note=print)
    names = [*config.features.names, *HOST_ODDS]
    section = config.features.model_copy(update={"names": names})
    program = compile_program(section, config.schema, **section.capacities)
    return computed_features(tx, config, program, "features")[0]


def judged(tx: Transactions, features: Features, since: int, week: int) -> tuple[float, float]:
    """Average precision of a week, known cards removed and of all cards."""
    known = known_labels(tx, week)
    rows = np.flatnonzero((tx.t_mono_s >= since) & (tx.t_mono_s < week) & (known >= 0))
    frauds, genuine = rows[known[rows] == 1], rows[known[rows] == 0]
    taken = np.random.default_rng(1).choice(genuine, min(GENUINE_ROWS, len(genuine)), False)
    learned = np.concatenate([frauds, taken])
    weight = np.repeat([1.0, len(genuine) / len(taken)], [len(frauds), len(taken)])
    table = xgboost.DMatrix(features[learned], known[learned], weight=weight)
    test = np.flatnonzero((tx.t_mono_s >= week) & (tx.t_mono_s < week + 7 * DAY_S))
    truth, stay = tx.label[test] == 1, known_cards_removed(tx, test, week)
    found = []
    for seed in SEEDS:
        booster = xgboost.train({**SHAPE, "seed": seed}, table, TREES)
        score = booster.predict(xgboost.DMatrix(features[test]))
        found.append([average_precision_score(truth[of], score[of]) for of in (stay, slice(None))])
    removed, every = np.mean(found, axis=0).tolist()
    return removed, every


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description="Measure the odds of compromised cards.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--weeks", default=WEEKS)
    asked = parser.parse_args()
    config = configuration()
    tx = read([asked.data], config, compact=True)
    weeks = [parse_moment(week) for week in asked.weeks.split(",")]
    features = computed(tx, config, weeks[0])
    print("week, without, with: known cards removed / all cards", flush=True)
    means = []
    for name, week in zip(asked.weeks.split(","), weeks, strict=True):
        parts = features[:, : -len(HOST_ODDS)], features
        means.append([judged(tx, part, config.train.since or 0, week) for part in parts])
        print(name, *(f"{removed:.4f} / {every:.4f}" for removed, every in means[-1]), flush=True)
    print("mean", *(f"{removed:.4f} / {every:.4f}" for removed, every in np.mean(means, axis=0)))


if __name__ == "__main__":
    main()
