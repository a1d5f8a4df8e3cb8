# SPDX-License-Identifier: Apache-2.0
"""The protocols: what is tested, and what is learned before it.

``prequential``: week after week, each trained again on the labels known when it begins.
``holdout``: one fold, the last share of the time. ``halves``: for tables without a meaning of time,
seeded halves of the genuine rows, one to train on, the other and all frauds to test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinyfin.config import Config
from tinyfin.data.transactions import Transactions, format_time
from tinyfin.errors import ConfigError, DataError
from tinyfin.training.families import family
from tinyfin.training.label_delays import reports_end_s
from tinyfin.training.split import Split, split_by_time

__all__ = ["PROTOCOLS", "WARM_S", "Fold", "folds_of", "warm_s"]

PROTOCOLS = ("prequential", "holdout", "halves")
WARM_S = 14 * 86_400
"""State has to be older than the label delay by this much to count as warm."""
_CALIBRATION_SHARE = 0.2


@dataclass(frozen=True)
class Fold:
    """A test, and what is learned for it."""

    name: str
    split: Split
    history_s: int | None
    """How much older than the test the data is; None where time means nothing."""
    cold: bool
    """The state has not seen enough: figures of this fold are shown separately."""


def warm_s(config: Config) -> int:
    """How long before the test the data has to begin."""
    if config.evaluate.warm is not None:
        return config.evaluate.warm
    return (config.data.label_delay_s or 0) + WARM_S


def folds_of(
    tx: Transactions,
    config: Config,
    *,
    protocol: str,
    weeks: int | Sequence[int],
    cold: bool = False,
) -> list[Fold]:
    """The folds of a protocol, in order. ``cold`` starts each fold with an empty state.

    Raises DataError when there is too little to train on or to test on, ConfigError when the
    family does not go with the protocol.
    """
    if not len(tx):
        raise DataError("there are no transactions to evaluate on")
    if protocol == "prequential":
        starts = _starts(tx, config, weeks)
        return [_week(tx, config, start, cold) for start in starts]
    if protocol == "holdout":
        split = split_by_time(
            tx,
            since_s=config.train.since,
            until_s=config.train.until,
            test_until_s=config.train.test_until,
            shares=_shares(config),
            supervised=family(config.model.family).supervised,
        )
        return [_fold(tx, config, "holdout", split, cold)]
    if family(config.model.family).supervised:
        raise ConfigError(
            f"model.family = {config.model.family!r} trains on frauds, and halves are trained "
            "without any: choose a family that needs no labels, or another --protocol"
        )
    return [_half(tx, seed) for seed in range(config.evaluate.halves)]


def _shares(config: Config) -> tuple[float, float, float]:
    return config.train.train, config.train.validation, config.train.test


def _starts(tx: Transactions, config: Config, weeks: int | Sequence[int]) -> list[int]:
    if not isinstance(weeks, int):
        return [int(start) for start in weeks]
    end = int(tx.t_mono_s.max()) + 1
    reported_s = reports_end_s(tx)
    period = config.evaluate.period
    whole_days = period % 86_400 == 0
    if reported_s is not None:
        end = reported_s // 86_400 * 86_400 if whole_days else reported_s
    elif whole_days:  # the data ends on one, except its last second of business
        end = -(-end // 86_400) * 86_400
    starts = [end - period * (weeks - i) for i in range(weeks)]
    first = int(tx.t_mono_s.min()) if config.train.since is None else config.train.since
    if starts[0] <= first:
        raise DataError(
            f"{weeks} test weeks before {format_time(end)} begin at {format_time(starts[0])}, and "
            f"there is nothing to train on before {format_time(first)}; ask for fewer with "
            "--weeks, or give more data"
        )
    return starts


def _week(tx: Transactions, config: Config, start: int, cold: bool) -> Fold:
    split = split_by_time(
        tx,
        since_s=config.train.since,
        until_s=start,
        test_until_s=start + config.evaluate.period,
        shares=_shares(config),
        supervised=family(config.model.family).supervised,
    )
    return _fold(tx, config, format_time(start)[:10], split, cold)


def _fold(tx: Transactions, config: Config, name: str, split: Split, cold: bool) -> Fold:
    if not len(split.test):
        raise DataError(
            f"from {format_time(split.until_s)} to {format_time(split.test_until_s)} there is no "
            "labelled transaction to test on; choose other weeks"
        )
    history = 0 if cold else split.until_s - int(tx.t_mono_s.min())
    plain = config.data.plain
    return Fold(name, split, None if plain else history, not plain and history < warm_s(config))


def _half(tx: Transactions, seed: int) -> Fold:
    """Half of the genuine rows to train on; the frauds and the other half are the test.

    Of the rows to train on the last share calibrates. Nothing is known of any fraud.
    """
    genuine = np.flatnonzero(tx.label == 0)
    frauds = np.flatnonzero(tx.label == 1)
    if len(genuine) < 20 or not len(frauds):
        raise DataError(
            f"halves need at least 20 genuine rows and a fraud; there are {len(genuine)} and "
            f"{len(frauds)}"
        )
    order = np.random.default_rng(seed).permutation(genuine)
    half = len(order) // 2
    learned = order[:half]
    cut = round(len(learned) * (1 - _CALIBRATION_SHARE))
    stop = round(len(learned) * (1 - 1.5 * _CALIBRATION_SHARE))
    t = tx.t_mono_s
    end = int(t.max()) + 1
    split = Split(
        fit=np.sort(learned[:stop]),
        validation=np.sort(learned[stop:cut]),
        calibration=np.sort(learned[cut:]),
        test=np.sort(np.concatenate([order[half:], frauds])),
        since_s=int(t.min()),
        validation_s=int(t.min()),
        calibration_s=int(t.min()),
        until_s=int(t.min()),
        test_until_s=end,
        immature=0,
        unlabelled=int(np.count_nonzero(tx.label < 0)),
        warmup=0,
        young_s=end,
    )
    return Fold(f"half-{seed}", split, None, False)
