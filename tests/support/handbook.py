# SPDX-License-Identifier: Apache-2.0
"""A small world by the published rules of the Fraud Detection Handbook's simulator.

Written from the description in its chapter "Transaction data simulator"; no row of the Handbook's
own files is in the repository. Columns and types are those of its files, so that the mapping of
``models/handbook`` reads both.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["CONFIG", "PUBLISHED", "write_world"]

_ROOT = Path(__file__).resolve().parents[2]
CONFIG = _ROOT / "models" / "handbook" / "tinyfin.toml"
PUBLISHED = (
    Path(os.environ.get("TINYFIN_SHARED", _ROOT.parent / "shared"))
    / "data"
    / "handbook_2018-04-01_2018-08-14.parquet"
)
"""The Handbook's own transactions, where somebody has put them."""

_DAY_S = 86400
_LARGE_MINOR = 220_00
_TERMINALS_PER_DAY = 2 / 10_000
_CARDS_PER_DAY = 3 / 5_000


def write_world(
    path: Path, *, cards: int = 350, terminals: int = 700, days: int = 136, seed: int = 7
) -> Path:
    """Write a Parquet file in order of time; about 2 transactions a card and day."""
    rng = np.random.default_rng(seed)
    near = np.argsort(
        np.linalg.norm(rng.uniform(size=(cards, 1, 2)) - rng.uniform(size=(terminals, 2)), axis=2)
    )[:, : max(1, terminals // 30)]
    daily = rng.poisson(rng.uniform(0, 4, (cards, 1)), (cards, days))
    card, day = (np.repeat(axis.ravel(), daily.ravel()) for axis in np.indices((cards, days)))
    n = len(card)
    second = np.rint(rng.normal(_DAY_S / 2, 20_000, n)).astype(np.int64)
    mean = rng.uniform(5, 100, cards)[card]
    amount = rng.normal(mean, mean / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
    terminal = near[card, rng.integers(0, near.shape[1], n)]

    inside = (second > 0) & (second < _DAY_S)
    time_s, card, terminal = (day * _DAY_S + second)[inside], card[inside], terminal[inside]
    day, minor = day[inside], np.rint(amount[inside] * 100).astype(np.int64)
    order = np.argsort(time_s, kind="stable")
    time_s, card, terminal, day, minor = (a[order] for a in (time_s, card, terminal, day, minor))

    scenario = np.where(minor > _LARGE_MINOR, 1, 0)
    bad_terminal = _compromised(rng, terminals, days, _TERMINALS_PER_DAY, 28)[terminal, day]
    scenario[bad_terminal] = 2
    stolen = _compromised(rng, cards, days, _CARDS_PER_DAY, 14)[card, day]
    stolen &= rng.uniform(size=len(day)) < 1 / 3
    minor = np.where(stolen, 5 * minor, minor)
    scenario[stolen] = 3
    columns = {
        "TRANSACTION_ID": np.arange(len(day), dtype=np.int32),
        "TX_TIME_SECONDS": time_s.astype(np.int32),
        "CUSTOMER_ID": card.astype(np.int16),
        "TERMINAL_ID": terminal.astype(np.int16),
        "AMOUNT_MINOR": minor.astype(np.int32),
        "TX_FRAUD": (scenario > 0).astype(np.int8),
        "TX_FRAUD_SCENARIO": scenario.astype(np.int8),
    }
    pq.write_table(pa.table(columns), path)
    return path


def _compromised(
    rng: np.random.Generator, count: int, days: int, per_day: float, duration_days: int
) -> np.ndarray:
    """Which of them are compromised on which day, bool[count, days]."""
    starts = rng.uniform(size=(count, days)) < per_day
    padded = np.pad(np.cumsum(starts, axis=1), ((0, 0), (duration_days, 0)))
    return padded[:, duration_days:] > padded[:, :days]
