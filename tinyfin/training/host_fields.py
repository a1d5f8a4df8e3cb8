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
from tinyfin.data.transactions import EPOCH_UNIX_S, Transactions
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
from tinyfin.schema import HOST_FIELDS, HOST_ODDS_FIELDS, Field, Schema
from tinyfin.training.card_odds import CardOdds, learn_card_odds

__all__ = [
    "CREATED",
    "EVENT_TIME",
    "card_program",
    "host_columns",
    "host_specs",
    "host_values",
    "learned_card_odds",
    "write_host_fields",
]

Columns = dict[str, npt.NDArray[np.int64]]

_PART = 1 << 15
_MEAN_CAP = (1 << 30) - 1
KNOWN_S = 180 * DAY_S
CAPACITIES = {"pending": 4, "terminal_labels": 16}
"""Per card: transactions that wait for their outcome, labels that are remembered."""
_WITH_ODDS = CAPACITIES | {"pending": 2}
"""So that ten million cards with their odds fit into 6 GB."""

EVENT_TIME, CREATED = "event_timestamp", "created"
"""Columns of a written table that say for when its fields hold, as feature stores call them."""


def host_specs(odds: CardOdds | None = None) -> tuple[Field, ...]:
    """The fields that a host sends, without and with learned odds."""
    return HOST_FIELDS if odds is None else (*HOST_FIELDS, *HOST_ODDS_FIELDS)


def host_columns(
    tx: Transactions, notices: Notices = "both", odds: CardOdds | None = None
) -> Columns:
    """The fields of :func:`host_specs` per transaction, int64[n]; each field's number for missing
    where the host knows nothing.

    Raises ConfigError when the schema has no card or no amount.
    """
    from tinyfin.twin import FeatureTwin

    specs = host_specs(odds)
    out = {spec.name: np.full(len(tx), spec.missing, np.int64) for spec in specs}
    rows, mine = _by_card(tx)
    if not len(rows):
        return out
    schema, program = card_program(tx.schema, odds)
    twin = FeatureTwin(schema, program, terminals=len(mine.terminals))
    found = host_values(twin.run(mine, event_stream(mine, notices)).features)
    for spec, values in zip(specs, found.T, strict=True):
        out[spec.name][rows] = values
    return out


def learned_card_odds(
    tx: Transactions, config: Config, until_s: int, *, note: Callable[[str], None] = lambda _: None
) -> CardOdds:
    """The odds of compromised cards, learned from labels known at ``until_s``. Raises DataError,
    ConfigError."""
    return learn_card_odds(_by_card(tx)[1], config, until_s, _WITH_ODDS, note=note)


def _by_card(tx: Transactions) -> tuple[npt.NDArray[np.int64], Transactions]:
    """The rows with a card, and their transactions, with the card in the terminal's place."""
    token = _token_field(tx.schema)
    rows = np.flatnonzero(tx.has(token) & (tx.column(token) != 0))
    mine = tx.take(rows)
    cards, card = np.unique(mine.column(token), return_inverse=True)
    return rows, replace(
        mine,
        terminal=card.astype(np.int32),
        terminals=tuple(map(str, cards.tolist())),
        id=np.arange(1, len(rows) + 1, dtype=np.uint64),
    )


def card_program(schema: Schema, odds: CardOdds | None = None) -> tuple[bytes, bytes]:
    """The payloads of SCHM and PROG with which an engine follows one card."""
    from tinyfin.pack.sections import encode_schema

    features = _FEATURES if odds is None else [*_FEATURES, *odds.features()]
    capacities = CAPACITIES if odds is None else _WITH_ODDS
    return encode_schema(schema), compile_program(features, schema, **capacities).payload


def host_values(features: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """What those features say: int16[n, 8] to int64[n, 6], int16[n, 10] to int64[n, 8], in the
    order of :func:`host_specs`."""
    columns = features.astype(np.int64).T
    part = dict(zip((f.name for f in _FEATURES), columns, strict=False))
    named = {
        "host_card_count_1d": part["count_1d"],
        "host_card_count_7d": part["count_7d"],
        "host_card_count_30d": part["count_30d"],
        "host_card_mean_minor": part["mean_high"] * _PART + part["mean_low"],
        "host_card_mean_7d_minor": part["mean_7d_high"] * _PART + part["mean_7d_low"],
        "host_card_known_frauds": part["frauds"],
    }
    found = [named[spec.name] for spec in HOST_FIELDS]
    return np.stack([*found, *columns[len(_FEATURES) :]], axis=1)


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
    odds: CardOdds | None = None,
    learn: tuple[Path, int] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write the files' rows and columns, and the host's fields after them, as one Parquet file.

    ``odds`` adds those of compromised cards; ``learn`` learns them first, from labels known at a
    time, and writes them to a file.

    ``event_timestamp`` and ``created`` come last: when the fields hold, UTC, and the same with a
    microsecond more for each earlier row of that card in that second, so that one of them is the
    newest. Raises DataError (bad rows among them: fix them first), ConfigError.
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
    if learn is not None:
        odds = learned_card_odds(tx, config, learn[1], note=note)
        files.write(learn[0], odds.text().encode())
    specs = host_specs(odds)
    columns = host_columns(tx, config.data.notices, odds)
    tables = []
    for path in paths:
        names = column_names(path, config.data)
        taken = sorted(set(names) & {*columns, EVENT_TIME, CREATED})
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
    for spec in specs:
        values = columns[spec.name]
        kind = pa.int32() if spec.type == "i32" else pa.int64()
        table = table.append_column(
            spec.name, pa.array(values, mask=values == spec.missing).cast(kind)
        )
    seconds = tx.t_mono_s.astype(np.int64) + EPOCH_UNIX_S
    for name, more in ((EVENT_TIME, 0), (CREATED, _earlier(tx))):
        times = pa.array(seconds * 10**6 + more, pa.timestamp("us", "UTC"))
        table = table.append_column(name, times)
    with files.whole(out, make_folder=True) as unfinished, unfinished.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
    has_card = columns[HOST_FIELDS[0].name] >= 0
    return {
        "out": str(out),
        "transactions": len(tx),
        "with_card": int(np.count_nonzero(has_card)),
        "columns": [*columns, EVENT_TIME, CREATED],
    }


def _token_field(schema: Schema) -> str:
    token = next((f.name for f in schema.fields if f.unit == "token"), None)
    if token is None or "amount_minor" not in schema.names:
        raise ConfigError(
            f"schema {schema.name!r} has no card or no amount_minor; a host follows cards of "
            "payments only"
        )
    return token


def _earlier(tx: Transactions) -> npt.NDArray[np.int64]:
    """How many earlier rows have the card and the second of each row, int64[n]."""
    keys = tx.column(_token_field(tx.schema)), tx.t_mono_s
    order, place = np.lexsort(keys), np.arange(len(tx))
    begins = np.ones(len(tx), bool)
    begins[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    out = np.empty(len(tx), np.int64)
    out[order] = place - np.maximum.accumulate(np.where(begins, place, 0))
    return out


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
