# SPDX-License-Identifier: Apache-2.0
"""The twin against Polars and pandas: the same windows, the same data, one core each.

What is counted: transactions per second of processor time of one core. For the twin a transaction
is its score with all features of the program, the commit of its outcome, and its notice; state is
kept per terminal and per card. For Polars and pandas it is one row of the input for which
:data:`COMPARED` have been computed and nothing else: they see a table that is complete and
sorted, have no outcome that comes later, no notice, and no bounded memory, so the comparison
favours them. Their windows slide (to the second), the twin's move by a bucket; the counts are
the same work, not the same numbers.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyfin.errors import ToolError

if TYPE_CHECKING:
    from tinyfin.data.transactions import Transactions

__all__ = ["COMPARED", "bench"]

MINUTE_COUNT_S, QUARTER_COUNT_S, DISTINCT_S, CARD_S, DAY_S = 60, 900, 300, 86_400, 86_400

COMPARED = (
    "count per terminal, 60 s",
    "count per terminal, 900 s",
    "seconds since the terminal's last",
    "seconds since the card's last",
    "count per card, 1 day",
    "distinct cards per terminal, 300 s",
    "amount per terminal, sum of 1 day",
    "amount per terminal, mean of 1 day",
    "amount less the terminal's mean (exponential)",
    "refunds per terminal, sum of 1 day",
)
"""What Polars and pandas compute."""

ALIKE = (
    "rate_60", "rate_900_dev", "gap_s", "tok_gap_s", "tok_seen_cnt", "tok_distinct_300",
    "amt_dev", "refund_ratio",
)  # fmt: skip
"""Features of the catalogue that rest on such windows: the second program of the twin."""


def bench(tx: Transactions, *, features: Any = "default", repeat: int = 3) -> list[dict[str, Any]]:
    """Time the twin (two programs), Polars and pandas; a row each, the best of ``repeat`` runs.

    Keys: engine, version, features (how many columns it computed), transactions, events (calls of
    the engine; rows for the others), seconds (of processor time, all threads), per_second
    (transactions per second and core), events_per_second, values_per_second (features times
    transactions). Raises ToolError when Polars or pandas is not installed.
    """
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    try:
        pd, pl = (importlib.import_module(name) for name in ("pandas", "polars"))
    except ImportError as error:
        raise ToolError(
            f"{error.name} is not installed, the comparison needs it; pip install 'tinyfin[dev]'"
        ) from error
    columns = _columns(tx)
    run, count, events = _twin(tx, features)
    alike, alike_count, _ = _twin(tx, list(ALIKE))
    jobs: list[tuple[str, str, int, int, Callable[[], object]]] = [
        ("twin", _version(), count, events, run),
        ("twin, windows alike", _version(), alike_count, events, alike),
        ("polars", pl.__version__, len(COMPARED), len(tx), lambda: _polars(pl, columns)),
        ("pandas", pd.__version__, len(COMPARED), len(tx), lambda: _pandas(pd, columns)),
    ]
    rows: list[dict[str, Any]] = []
    for name, version, made, calls, job in jobs:
        seconds = min(_timed(job) for _ in range(max(1, repeat)))
        rows.append({
            "engine": name, "version": version, "features": made, "transactions": len(tx),
            "events": calls, "seconds": round(seconds, 4),
            "per_second": round(len(tx) / seconds), "events_per_second": round(calls / seconds),
            "values_per_second": round(made * len(tx) / seconds),
        })  # fmt: skip
    return rows


def _timed(job: Callable[[], object]) -> float:
    start = time.process_time()
    job()
    return time.process_time() - start


def _version() -> str:
    from tinyfin.twin import ENGINE_VERSION

    return f"{ENGINE_VERSION >> 16}.{ENGINE_VERSION >> 8 & 255}.{ENGINE_VERSION & 255}"


def _twin(tx: Transactions, features: Any) -> tuple[Callable[[], object], int, int]:
    from tinyfin.data.events import event_stream
    from tinyfin.features.compiler import compile_program
    from tinyfin.pack.container import build_pack
    from tinyfin.twin import Twin

    program = compile_program(features, tx.schema)
    pack = build_pack(tx.schema, program)
    stream = event_stream(tx)
    terminals = max(1, len(tx.terminals))
    return (
        lambda: Twin(pack, terminals=terminals).run(tx, stream),
        len(program.feature_names),
        len(stream),
    )


def _columns(tx: Transactions) -> dict[str, Any]:
    """Sorted by time, as rolling windows want it; sorting is not timed."""
    order = np.argsort(tx.t_mono_s, kind="stable")
    values = tx.values[order]
    kind = values[:, tx.schema.index("transaction_type")]
    amount = values[:, tx.schema.index("amount_minor")]
    return {
        "t": tx.t_mono_s[order].astype(np.int64).astype("datetime64[s]").astype("datetime64[ms]"),
        "terminal": tx.terminal[order],
        "token": values[:, tx.schema.index("token")],
        "amount": amount.astype(np.float64),
        "refund": np.where(kind == _refund(tx), amount, 0).astype(np.float64),
    }


def _refund(tx: Transactions) -> int:
    return tx.schema.fields[tx.schema.index("transaction_type")].values.index("refund")


def _polars(pl: Any, columns: dict[str, Any]) -> Any:
    frame = pl.DataFrame(columns).lazy()

    def rolling(value: Any, seconds: int, key: str) -> Any:
        return value.rolling(index_column="t", period=f"{seconds}s").over(key)

    one, amount = pl.len(), pl.col("amount")
    since = [pl.col("t").diff().dt.total_seconds().over(key) for key in ("terminal", "token")]
    mean = amount.ewm_mean(alpha=1 / 32, adjust=False).shift(1).over("terminal")
    made = [
        rolling(one, MINUTE_COUNT_S, "terminal"), rolling(one, QUARTER_COUNT_S, "terminal"),
        *since, rolling(one, CARD_S, "token"),
        rolling(pl.col("token").n_unique(), DISTINCT_S, "terminal"),
        rolling(amount.sum(), DAY_S, "terminal"), rolling(amount.mean(), DAY_S, "terminal"),
        amount - mean, rolling(pl.col("refund").sum(), DAY_S, "terminal"),
    ]  # fmt: skip
    return frame.select(value.alias(f"f{i}") for i, value in enumerate(made)).collect()


def _pandas(pd: Any, columns: dict[str, Any]) -> Any:
    frame = pd.DataFrame(columns)
    frame["code"] = pd.factorize(frame["token"])[0].astype(np.float64)
    indexed = frame.set_index("t")
    terminal, card = indexed.groupby("terminal"), indexed.groupby("token")

    def window(groups: Any, column: str, seconds: int) -> Any:
        return groups[column].rolling(f"{seconds}s")

    distinct = window(terminal, "code", DISTINCT_S)
    before = frame.groupby("terminal")["amount"]
    return [
        window(terminal, "amount", MINUTE_COUNT_S).count(),
        window(terminal, "amount", QUARTER_COUNT_S).count(),
        frame.groupby("terminal")["t"].diff(), frame.groupby("token")["t"].diff(),
        window(card, "amount", CARD_S).count(),
        distinct.apply(lambda codes: len(set(codes)), raw=True),
        window(terminal, "amount", DAY_S).sum(), window(terminal, "amount", DAY_S).mean(),
        frame["amount"] - before.transform(lambda a: a.ewm(alpha=1 / 32, adjust=False).mean()),
        window(terminal, "refund", DAY_S).sum(),
    ]  # fmt: skip
