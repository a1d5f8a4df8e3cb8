# SPDX-License-Identifier: Apache-2.0
"""The twin against Polars and pandas: the default features, the same transactions, one core each.

What is counted: transactions per second of processor time of one core. For the twin a transaction
is its score with all features, the commit of its outcome and its notice, with the memory of a
terminal. For Polars and pandas it is a row of a table that is complete, in order of time and in
memory: they need not wait for an outcome or a label, forget no card and count nothing on the way,
so the comparison favours them. Columns that mean the same number (:data:`EQUAL`) are compared value
by value; the bench fails when one differs.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.features_in_pandas import pandas_features
from benchmarks.features_in_polars import EQUAL, polars_features
from tinyfin import paths
from tinyfin.errors import ToolError
from tinyfin.optional_packages import install_command

if TYPE_CHECKING:
    from tinyfin.data.transactions import Transactions

__all__ = ["bench", "rows"]

TERMINALS, DAYS, SEED = 100, 60, 1
PANDAS_DAYS = 6
LABEL_DELAY_S = 7 * 86_400
REPEAT = 3
DEADLINE_S = 900

_FIELDS = {
    "token": ("token", np.int64),
    "amount": ("amount_minor", np.int64),
    "type": ("transaction_type", np.int8),
    "entry": ("entry_mode", np.int8),
    "floor": ("floor_limit_minor", np.int64),
    "offline": ("offline", np.int8),
    "queued": ("queued_minor", np.int64),
    "link_downs": ("link_downs", np.int32),
    "chip_failures": ("chip_failures", np.int32),
    "approval": ("approval_hash", np.int32),
}


def rows() -> list[dict[str, Any]]:
    """The table of ``make bench``: a row per engine, cells as they are printed.

    Runs in a process of its own, where Polars has one thread. Raises ToolError when Polars or
    pandas is not installed, or when a column that must be equal is not.
    """
    command = [sys.executable, "-m", "benchmarks.feature_speed"]
    done = subprocess.run(
        command,
        cwd=paths.project_dir(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        check=False,
    )
    if done.returncode != 0:
        raise ToolError(f"the feature bench failed: {done.stderr.strip().splitlines()[-1:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def bench(tx: Transactions, few: Transactions, *, repeat: int = REPEAT) -> list[dict[str, Any]]:
    """Time the twin and Polars on ``tx``, pandas on ``few``; the best of ``repeat`` runs each.

    ``few`` are other transactions of the same kind: pandas would take minutes for all. Raises
    ToolError as :func:`rows`.
    """
    try:
        pd, pl = (importlib.import_module(name) for name in ("pandas", "polars"))
    except ImportError as error:
        raise ToolError(
            f"{error.name} is not installed, the comparison needs it; {install_command('bench')}"
        ) from error
    tx, few = prepared(tx), prepared(few)
    columns, few_columns = table(tx), table(few)
    run, names, events = _twin(tx)
    small, _, _ = _twin(few)
    jobs: tuple[tuple[str, str, Transactions, Callable[[], Any], int], ...] = (
        ("twin", _version(), tx, run, repeat),
        ("Polars", pl.__version__, tx, lambda: polars_features(pl, columns, LABEL_DELAY_S), repeat),
        ("pandas", pd.__version__, few, lambda: pandas_features(pd, few_columns, LABEL_DELAY_S), 1),
    )
    made: list[dict[str, Any]] = []
    answers: dict[str, Any] = {}
    for engine, version, data, job, times in jobs:
        seconds = []
        for _ in range(times):
            start = time.process_time()
            answers[engine] = job()
            seconds.append(time.process_time() - start)
        made.append(
            {
                "engine": engine,
                "version": version,
                "features": len(names),
                "transactions": len(data),
                "CPU s": round(min(seconds), 2),
                "transactions/s per core": round(len(data) / min(seconds)),
            }
        )
    made[0]["events/s per core"] = round(made[0]["transactions/s per core"] * events / len(tx))
    equal = {
        "twin": len(names),
        "Polars": _equal(names, answers["twin"].features, answers["Polars"], "Polars"),
        "pandas": _equal(names, small().features, answers["pandas"], "pandas"),
    }
    best = made[0]["transactions/s per core"]
    for row in made:
        row.setdefault("events/s per core", None)
        row["columns compared, all equal"] = equal[row["engine"]]
        row["the twin is faster by"] = round(best / row["transactions/s per core"], 1)
        row["processor"] = _processor()
    return made


def prepared(tx: Transactions) -> Transactions:
    """In order of time, every outcome known at once, and all labels LABEL_DELAY_S later.

    A table has no place for what becomes known between two rows.
    """
    from tinyfin.data.transactions import NO_RESULT, RESULTS

    lost = RESULTS.index("timed_out")
    result = np.where(tx.result == NO_RESULT, lost, tx.result).astype(np.uint8)
    delayed = (tx.t_mono_s + LABEL_DELAY_S).astype(np.uint32)
    known = replace(tx, result=result, outcome_t_mono_s=tx.t_mono_s, label_known_s=delayed)
    return known.take(np.argsort(tx.t_mono_s, kind="stable"))


def table(tx: Transactions) -> dict[str, Any]:
    """The columns that the frames are made of; not timed."""

    def moment(seconds: Any) -> Any:
        return seconds.astype(np.int64).astype("datetime64[s]").astype("datetime64[ms]")

    columns = {
        "row": np.arange(len(tx)),
        "terminal": tx.terminal,
        "t": moment(tx.t_mono_s),
        "label_t": moment(tx.label_known_s),
        "label": tx.label,
        "result": tx.result,
        "response": tx.response,
    }
    for name, (field, dtype) in _FIELDS.items():
        columns[name] = tx.values[:, tx.schema.index(field)].astype(dtype)
    return columns


def _equal(names: list[str], twin: Any, frame: Any, engine: str) -> int:
    """How many columns were compared. Raises ToolError when the frame's columns are not the twin's
    features, and for the first column that differs."""
    if set(names) != set(frame.columns):
        others = ", ".join(sorted(set(names) ^ set(frame.columns)))
        raise ToolError(f"{engine} and the twin do not compute the same features: {others}")
    for name in EQUAL:
        theirs = np.asarray(frame[name], np.float64)
        rows = np.flatnonzero(theirs != twin[:, names.index(name)])
        if len(rows):
            raise ToolError(
                f"{engine}: {name} differs from the twin's in {len(rows)} rows, first {rows[0]}: "
                f"{theirs[rows[0]]:g} instead of {twin[rows[0], names.index(name)]}"
            )
    return len(EQUAL)


def _version() -> str:
    from tinyfin.twin import ENGINE_VERSION

    return f"{ENGINE_VERSION >> 16}.{ENGINE_VERSION >> 8 & 255}.{ENGINE_VERSION & 255}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _twin(tx: Transactions) -> tuple[Callable[[], Any], list[str], int]:
    from tinyfin.data.events import event_stream
    from tinyfin.features.compiler import compile_program
    from tinyfin.pack.sections import encode_schema
    from tinyfin.twin import FeatureTwin

    program = compile_program("default", tx.schema)
    sections = encode_schema(tx.schema), program.payload
    stream = event_stream(tx)
    terminals = max(1, len(tx.terminals))
    return (
        lambda: FeatureTwin(*sections, terminals=terminals).run(tx, stream),
        list(program.feature_names),
        len(stream),
    )


def _simulated(days: int, folder: Path) -> Transactions:
    from tinyfin import config, simulator
    from tinyfin.data.readers import read

    settings = config.load(None)
    size = {"terminals": TERMINALS, "days": days, "seed": SEED}
    path = folder / f"{days}.parquet"
    simulator.write(simulator.simulate(settings.simulate.model_copy(update=size)), path)
    return read(path, settings)


def main() -> None:
    """Print the rows as JSON."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tx, few = (_simulated(days, Path(folder)) for days in (DAYS, PANDAS_DAYS))
    print(json.dumps(bench(tx, few)))


if __name__ == "__main__":
    main()
