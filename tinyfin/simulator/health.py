# SPDX-License-Identifier: Apache-2.0
"""Simulated health reports of payment terminals: card readers and power supplies that wear out.

One report an hour. A failure announces itself over some days; the label says that the terminal
fails within ``HORIZON_H`` hours, and is known when it does, or when those hours have passed. Dirty
readers that are cleaned, heat and bad mains look similar and are not failures. Invented, as all
simulated data: it serves to try the workflow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tinyfin.config import Simulate
from tinyfin.data.transactions import EPOCH_UNIX_S
from tinyfin.progress import shown

__all__ = ["FIELDS", "HORIZON_H", "SCENARIOS", "simulate_health"]

HORIZON_H = 72
FIELDS = (
    "supply_mv",
    "temperature_dc",
    "tamper_flags",
    "card_reads",
    "reader_errors",
    "restarts",
    "key_interval_ms",
)
"""Columns of a report; units in the names (dc: tenths of a degree Celsius), counts per hour."""
SCENARIOS = ("healthy", "dirty_reader", "failing_reader", "failing_supply")

_HOUR_S = 3600
_REPAIR_H = 24
_BETWEEN_FAILURES_H = 40 * 24
_BUSY = np.array([0] * 7 + [1, 4, 6, 7, 9, 12, 11, 8, 7, 8, 10, 9, 5, 2] + [0] * 3)

Columns = dict[str, npt.NDArray[np.generic]]


def simulate_health(settings: Simulate) -> pa.Table:
    """Reports sorted by time: id, time, terminal, :data:`FIELDS`, label, label_time, scenario."""
    weather = np.random.default_rng([settings.seed, 0])
    hours = settings.days * 24
    heat = np.zeros(hours)
    for start in weather.integers(0, max(hours, 1), settings.days // 20):
        heat[start : start + 48] = 90.0
    numbers = shown("simulating", range(settings.terminals), "terminals")
    parts = [_terminal(settings, number, heat) for number in numbers]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((rows["terminal"], rows["hour"]))
    rows = {name: column[order] for name, column in rows.items()}
    start = settings.start + EPOCH_UNIX_S
    ids = [f"T{number + 1:04d}" for number in range(settings.terminals)]
    return pa.table(
        {
            "id": pa.array(np.arange(1, len(order) + 1)),
            "time": _times(start, rows["hour"]),
            "terminal": pa.array(ids).take(pa.array(rows["terminal"])),
            **{name: pa.array(rows[name].astype(np.int32), mask=rows[name] < 0) for name in FIELDS},
            "label": pa.array(rows["label"].astype(np.int8)),
            "label_time": _times(start, rows["label_hour"]),
            "scenario": pa.array(SCENARIOS).take(pa.array(rows["scenario"])),
        }
    )


def _times(start: int, hour: npt.NDArray[np.generic]) -> pa.Array:
    return pa.array(start + _HOUR_S * hour).cast(pa.timestamp("s"))


def _terminal(settings: Simulate, number: int, heat: npt.NDArray[np.float64]) -> Columns:
    rng = np.random.default_rng([settings.seed, 1, number])
    n = len(heat)
    hour = np.arange(n)
    bad_mains = rng.random() < 0.15
    usual_mv = 5000 - 140 * bad_mains + rng.normal(0, 25)
    supply = usual_mv + rng.normal(0, 35 if bad_mains else 10, n) - heat / 6
    warm = 260 + 40 * np.sin(2 * np.pi * (hour % 24 - 9) / 24) + rng.normal(0, 8, n) + heat
    misread = np.full(n, rng.uniform(0.005, 0.03))
    restart = np.full(n, 0.001)
    dirty = np.zeros(n, bool)
    for start in rng.integers(0, max(n, 1), rng.poisson(n / (45 * 24))):
        dirty[start : start + int(rng.integers(12, 30))] = True
    misread += 0.15 * dirty

    left, silent, kind = _failures(rng, n, supply, warm, misread, restart)
    reads = rng.poisson(_BUSY[hour % 24] * rng.uniform(0.5, 2.0))
    errors = rng.binomial(reads, np.minimum(misread, 0.9))
    keys = np.where(reads > 0, rng.normal(420, 60, n).clip(120), -1)
    failing = left <= HORIZON_H
    scenario = np.where(failing, 2 + kind, dirty.astype(np.int64))
    columns = {
        "supply_mv": np.rint(supply),
        "temperature_dc": np.rint(warm),
        "tamper_flags": (rng.random(n) < 0.0005).astype(np.int64),
        "card_reads": reads,
        "reader_errors": errors,
        "restarts": rng.poisson(restart),
        "key_interval_ms": np.rint(keys),
        "hour": hour,
        "terminal": np.full(n, number),
        "label": failing,
        "label_hour": hour + np.minimum(left, HORIZON_H),
        "scenario": scenario,
    }
    return {name: column[~silent] for name, column in columns.items()}


def _failures(
    rng: np.random.Generator,
    n: int,
    supply: npt.NDArray[np.float64],
    warm: npt.NDArray[np.float64],
    misread: npt.NDArray[np.float64],
    restart: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Lay failures over a terminal's hours; hours left until the next, silent hours, its kind."""
    left = np.full(n, 1 << 20)
    silent = np.zeros(n, bool)
    kinds = np.zeros(n, np.int64)
    at = 0
    while True:
        ramp = int(rng.integers(5 * 24, 12 * 24))
        at += ramp + int(rng.exponential(_BETWEEN_FAILURES_H))
        kind = int(rng.integers(0, 2))
        begin = at - ramp
        if begin >= n:
            return left, silent, kinds
        span = slice(begin, min(at, n))
        wear = (np.arange(begin, span.stop) - begin) / ramp
        if kind == 0:
            bad_day = rng.random(len(wear)) < 0.5 + 0.5 * wear
            misread[span] += 0.4 * wear**2 * bad_day
        else:
            sag = 160 * wear**2
            supply[span] -= sag + rng.normal(0, 1, len(wear)) * 60 * wear
            warm[span] += 60 * wear**2
            restart[span] += 0.3 * wear**3
        left[span] = at - np.arange(begin, span.stop)
        kinds[span] = kind
        silent[at : at + _REPAIR_H] = True
        at += _REPAIR_H
