# SPDX-License-Identifier: Apache-2.0
"""What the odds of compromised cards are worth beside the host's other fields, week by week.

    tinyfin host-fields handbook.parquet --config models/handbook/tinyfin.toml --learn-until 2018-07-18 --odds odds.json --out handbook_odds.parquet
    python -m benchmarks.card_odds handbook_odds.parquet [--weeks 2018-07-25,2018-08-08]

XGBoost of one shape on the features of ``models/handbook_host``, without and with the two odds: on
all frauds and 250,000 genuine rows that were known when the week began, by weight all of them. The
week is the test; means of three seeds.
"""  # noqa: E501

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xgboost
from sklearn.metrics import average_precision_score

from tinyfin.config import Column, Config, load, parse_moment
from tinyfin.features.catalogue import HOST_ODDS
from tinyfin.features.expressions import DAY_S
from tinyfin.schema import HOST_ODDS_FIELDS, PAYMENT_HOST_ODDS
from tinyfin.training.dataset import Dataset, prepare
from tinyfin.training.populations import known_cards_removed
from tinyfin.training.split import known_labels, split_by_time

BASE = Path(__file__).resolve().parents[1] / "models" / "handbook_host" / "tinyfin.toml"
WEEKS = "2018-07-18,2018-07-25,2018-08-01,2018-08-08"
GENUINE_ROWS, SEEDS, TREES = 250_000, (1, 2, 3), 200
SHAPE = {
    "objective": "binary:logistic",
    "max_depth": 5,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.4,
    "min_child_weight": 0.3,
    "lambda": 5,
    "tree_method": "hist",
    "nthread": 2,
}


def configuration() -> Config:
    """That of ``models/handbook_host``, with the schema and the columns that have the odds."""
    base = load(BASE)
    more = {spec.name: Column(column=spec.name) for spec in HOST_ODDS_FIELDS}
    data = base.data.model_copy(update={"columns": {**base.data.columns, **more}})
    return replace(base, schema=PAYMENT_HOST_ODDS, data=data)


def judged(data: Dataset, config: Config, names: Sequence[str], week: int) -> tuple[float, float]:
    """Average precision of a week, known cards removed and of all cards."""
    train = config.train
    split = split_by_time(
        data.tx,
        since_s=train.since,
        until_s=week,
        test_until_s=week + 7 * DAY_S,
        shares=(train.train, train.validation, train.test),
    )
    section = config.features.model_copy(update={"names": list(names)})
    made = data.featured(replace(config, features=section), split)
    rows = np.concatenate([split.fit, split.validation, split.calibration])
    label = known_labels(data.tx, week)[rows]
    genuine = rows[label == 0]
    taken = np.random.default_rng(1).choice(genuine, min(GENUINE_ROWS, len(genuine)), False)
    frauds = rows[label == 1]
    learned = np.concatenate([frauds, taken])
    weight = np.repeat([1.0, len(genuine) / len(taken)], [len(frauds), len(taken)])
    known = xgboost.DMatrix(
        made.features[learned], np.arange(len(learned)) < len(frauds), weight=weight
    )
    truth = data.tx.label[split.test] == 1
    stay = known_cards_removed(data.tx, split.test, week)
    test = xgboost.DMatrix(made.features[split.test])
    found = []
    for seed in SEEDS:
        score = xgboost.train({**SHAPE, "seed": seed}, known, TREES).predict(test)
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
    data = prepare([asked.data], config)
    without = list(config.features.names)
    print("week, without, with: known cards removed / all cards", flush=True)
    for week in asked.weeks.split(","):
        pairs = (
            judged(data, config, names, parse_moment(week))
            for names in (without, [*without, *HOST_ODDS])
        )
        print(week, *(f"{removed:.4f} / {every:.4f}" for removed, every in pairs), flush=True)


if __name__ == "__main__":
    main()
