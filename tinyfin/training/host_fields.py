# SPDX-License-Identifier: Apache-2.0
"""What an authorisation host would have sent with each transaction, derived from the data itself.

The host sees a card at all terminals, so the twin runs with the card in the terminal's place: what
it answers to a transaction is made of that card's earlier transactions, their outcomes, and the
labels that were known by then. Nothing later takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.config import Config
from tinyfin.data.events import Notices, event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError, DataError, InputError
from tinyfin.features.compiler import compile_program
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    APPROVED,
    DAY_S,
    Expression,
    equal,
    field,
    known,
    ratio,
    smaller,
    window,
)
from tinyfin.schema import HOST_FIELDS

__all__ = ["host_columns", "write_host_fields"]

Columns = dict[str, npt.NDArray[np.int64]]

_PART = 1 << 15
_MEAN_CAP = (1 << 30) - 1
KNOWN_S = 180 * DAY_S
CAPACITIES = {"pending": 4, "terminal_labels": 16}
"""Per card: transactions that wait for their outcome, labels that are remembered."""


def host_columns(tx: Transactions, notices: Notices = "both") -> Columns:
    """The fields of ``HOST_FIELDS`` per transaction, int64[n]; -1 where the host knows nothing.

    Raises ConfigError when the schema has no card or no amount.
    """
    from tinyfin.pack.sections import encode_schema
    from tinyfin.twin import FeatureTwin

    token = next((f.name for f in tx.schema.fields if f.unit == "token"), None)
    if token is None or "amount_minor" not in tx.schema.names:
        raise ConfigError(
            f"schema {tx.schema.name!r} has no card or no amount_minor; a host follows cards of "
            "payments only"
        )
    names = [f.name for f in HOST_FIELDS]
    out = {name: np.full(len(tx), -1, np.int64) for name in names}
    rows = np.flatnonzero(tx.has(token) & (tx.column(token) != 0))
    if not len(rows):
        return out
    mine = tx.take(rows)
    cards, card = np.unique(mine.column(token), return_inverse=True)
    mine = replace(
        mine,
        terminal=card.astype(np.int32),
        terminals=tuple(map(str, cards.tolist())),
        id=np.arange(1, len(rows) + 1, dtype=np.uint64),
    )
    program = compile_program(_FEATURES, tx.schema, **CAPACITIES)
    twin = FeatureTwin(encode_schema(tx.schema), program.payload, terminals=len(cards))
    found = twin.run(mine, event_stream(mine, notices)).features.astype(np.int64).T
    part = dict(zip((feature.name for feature in _FEATURES), found, strict=True))
    for name, values in (
        ("host_card_count_1d", part["count_1d"]),
        ("host_card_count_7d", part["count_7d"]),
        ("host_card_count_30d", part["count_30d"]),
        ("host_card_mean_minor", part["mean_high"] * _PART + part["mean_low"]),
        ("host_card_mean_7d_minor", part["mean_7d_high"] * _PART + part["mean_7d_low"]),
        ("host_card_known_frauds", part["frauds"]),
    ):
        out[name][rows] = values
    return out


class Written(TypedDict):
    """What :func:`write_host_fields` wrote."""

    out: str
    transactions: int
    with_card: int
    columns: list[str]


def write_host_fields(
    paths: Sequence[str | Path],
    config: Config,
    out: str | Path,
    *,
    note: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write the files' rows and columns, and the host's fields after them, as one Parquet file.

    Raises DataError (bad rows among them: fix them first), ConfigError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tinyfin.data.cards import CardGuard
    from tinyfin.data.containers import writes_csv
    from tinyfin.data.readers import read
    from tinyfin.data.tables import column_names, read_table

    if writes_csv(out):
        raise InputError(f"{out}: the table is written as Parquet; end the name in .parquet")
    tx = read(paths, config, progress=note)
    columns = host_columns(tx, config.data.notices)
    tables = []
    for path in paths:
        names = column_names(path, config.data)
        taken = sorted(set(names) & set(columns))
        if taken:
            raise DataError(f"{path}: has a column {taken[0]!r} already; take it out first")
        table, _ = read_table(path, {name: name for name in names}, False, config.data)
        CardGuard(str(path)).check_table(table)
        tables.append(table)
    try:
        table = pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise DataError(f"the files differ in their columns: {error}; give them one by one") from (
            error
        )
    for spec in HOST_FIELDS:
        values = columns[spec.name]
        kind = pa.int32() if spec.type == "i32" else pa.int64()
        table = table.append_column(spec.name, pa.array(values, mask=values < 0).cast(kind))
    with files.whole(out, make_folder=True) as unfinished, unfinished.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
    has_card = columns[HOST_FIELDS[0].name] >= 0
    return {
        "out": str(out),
        "transactions": len(tx),
        "with_card": int(np.count_nonzero(has_card)),
        "columns": list(columns),
    }


def _approved_mean(seconds: int, buckets: int) -> Expression:
    """Mean of the card's approved amounts in a window, minor units; -1 when there is none."""
    count = window("terminal", seconds=seconds, buckets=buckets, when=APPROVED)
    total = window(
        "terminal",
        seconds=seconds,
        buckets=buckets,
        when=APPROVED,
        value=field("amount_minor"),
        width=8,
    )
    return smaller(ratio(total, count, scale=1), _MEAN_CAP) - equal(count, 0)


def _features() -> list[Feature]:
    parts: dict[str, Expression] = {
        "count_1d": window("terminal", seconds=DAY_S, buckets=24),
        "count_7d": window("terminal", seconds=7 * DAY_S, buckets=7),
        "count_30d": window("terminal", seconds=30 * DAY_S, buckets=30),
        "frauds": known("terminal", "frauds", span_s=KNOWN_S),
    }
    for name, seconds, buckets in (("mean", 128 * DAY_S, 4), ("mean_7d", 7 * DAY_S, 7)):
        spent = _approved_mean(seconds, buckets)
        high = spent // _PART
        parts |= {f"{name}_high": high, f"{name}_low": spent - high * _PART}
    return [
        Feature(name, 0xF000 + i, 0, "", "", "before", expression)
        for i, (name, expression) in enumerate(parts.items())
    ]


_FEATURES = _features()
