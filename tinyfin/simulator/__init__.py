# SPDX-License-Identifier: Apache-2.0
"""Simulated transactions: merchants with real rhythms, and labelled attacks.

The same settings make the same table, byte for byte, with the same versions of numpy and pyarrow.
The data is invented: use it to try the workflow and compare scenarios, not to claim detection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tinyfin import files
from tinyfin.config import Simulate
from tinyfin.data.transactions import EPOCH_UNIX_S, RESULTS
from tinyfin.errors import DataError
from tinyfin.progress import shown, stage
from tinyfin.schema import PAYMENT
from tinyfin.simulator.attacks import attacks, incidents
from tinyfin.simulator.finish import NONE, finish
from tinyfin.simulator.rows import Columns, Rows, stack, take
from tinyfin.simulator.traffic import ordinary
from tinyfin.simulator.world import World

__all__ = ["GENUINE", "as_table", "check_name", "counts", "simulate", "write"]

GENUINE = "genuine"
"""Scenario of ordinary business."""

_SPECIAL_FIRST = ("id", "time", "terminal")
_SPECIAL_LAST = ("result", "response", "outcome_time", "label", "scenario")


def simulate(settings: Simulate) -> pa.Table:
    """Transactions of a town, sorted by time, under the native column names.

    Columns: id int64, time timestamp[s] (local = UTC), terminal text, the fields of the payment
    schema (enums as text, token uint64), result text, response int32, outcome_time timestamp[s],
    label int8, scenario text. Null where absent. Raises ConfigError for unknown merchants or
    scenarios.
    """
    world = World(
        settings.terminals,
        settings.days,
        settings.seed,
        settings.start,
        settings.merchants,
        settings.seasons,
    )
    terminals = shown("simulating", world.terminals, "terminals")
    parts = [ordinary(world, terminal) for terminal in terminals]
    with stage("simulating attacks"):
        parts += incidents(world, settings.attacks, settings.attacks_start)
    with stage("putting the transactions in order"):
        return as_table(world, parts)


def as_table(world: World, parts: Sequence[Rows]) -> pa.Table:
    """The rows of all parts that lie in the time of ``world``, completed, as :func:`simulate` gives
    them. Rows of one second and terminal keep their order."""
    rows = stack(parts)
    rows = take(rows, (rows["time_s"] >= world.start_s) & (rows["time_s"] < world.end_s))
    rows = take(rows, np.lexsort((rows["terminal"], rows["time_s"])))
    return _table(world, finish(world, rows))


def counts(table: pa.Table) -> dict[str, dict[str, int]]:
    """Transactions, frauds and terminals per scenario, ordinary business first."""
    names = table.column("scenario").to_pylist()
    frauds = Counter(
        name for name, label in zip(names, table.column("label").to_pylist(), strict=True) if label
    )
    places: dict[str, set[str]] = {}
    for name, terminal in zip(names, table.column("terminal").to_pylist(), strict=True):
        places.setdefault(name, set()).add(terminal)
    total = Counter(names)
    order = [name for name in (GENUINE, *attacks()) if name in total]
    order += sorted(set(total) - set(order))
    return {
        name: {"transactions": total[name], "frauds": frauds[name], "terminals": len(places[name])}
        for name in order
    }


def write(table: pa.Table, path: str | Path) -> None:
    """Write Parquet, or CSV if the name says so. Raises DataError, InputError."""
    check_name(path)
    # Arrow takes no name that is not UTF-8
    with files.whole(path) as unfinished, unfinished.open("wb") as file:
        if str(path).lower().endswith(".csv"):
            pacsv.write_csv(table, file)
        else:
            pq.write_table(table, file, compression="zstd")


def check_name(path: str | Path) -> None:
    """DataError for a file that :func:`write` would not know how to write."""
    if not str(path).lower().endswith((".csv", ".parquet", ".pq")):
        raise DataError(f"{path}: end the name in .parquet or .csv")


def _table(world: World, columns: Columns) -> pa.Table:
    arrays: dict[str, pa.Array] = {}
    for name in ("time", "outcome_time"):
        arrays[name] = _array(columns[name] + np.int64(EPOCH_UNIX_S), columns[name]).cast(
            pa.timestamp("s")
        )
    arrays["id"] = pa.array(columns["id"], pa.int64())
    arrays["terminal"] = _words([t.id for t in world.terminals], columns["terminal"])
    arrays["result"] = _words(RESULTS, columns["result"])
    arrays["scenario"] = _words([GENUINE, *attacks()], columns["scenario"])
    arrays["response"] = _array(columns["response"], columns["response"]).cast(pa.int32())
    arrays["label"] = pa.array(columns["label"], pa.int8())
    types = {"i32": pa.int32(), "i64": pa.int64(), "u64": pa.uint64()}
    for field in PAYMENT.fields:
        column = columns[field.name]
        if field.type == "enum":
            arrays[field.name] = _words(field.values, column)
        elif field.type == "u64":
            arrays[field.name] = pa.array(column)
        else:
            arrays[field.name] = _array(column, column).cast(types[field.type])
    return pa.table(
        {name: arrays[name] for name in (*_SPECIAL_FIRST, *PAYMENT.names, *_SPECIAL_LAST)}
    )


def _array(values: npt.NDArray[np.integer], absent: npt.NDArray[np.integer]) -> pa.Array:
    mask = absent == NONE
    return pa.array(np.where(mask, 0, values), pa.int64(), mask=mask)


def _words(names: Iterable[str], codes: npt.NDArray[np.integer]) -> pa.Array:
    return pa.array(list(names), pa.string()).take(_array(codes, codes))
