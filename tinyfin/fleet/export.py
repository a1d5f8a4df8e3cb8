# SPDX-License-Identifier: Apache-2.0
"""A lake as a star schema for BI tools: Parquet or CSV files, or tables of a database.

The facts are ``terminal_day`` and ``restart``, the dimensions ``pack``, ``day`` and ``terminal``.
:data:`TABLES` describes every column once: files, comments of a database and docs/bi.md have it
from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tinyfin import files, optional_packages
from tinyfin.errors import InputError
from tinyfin.field.report import COUNTERS
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.publish import BY, MEASURES, published
from tinyfin.fleet.views import connect
from tinyfin.formats import ENGINE_COUNTERS

if TYPE_CHECKING:
    import duckdb
    import sqlalchemy as sa

__all__ = ["OTHERS_TABLES", "TABLES", "Column", "tables_of", "to_database", "to_files"]

Role = Literal["key", "attribute", "sum", "state"]
Format = Literal["parquet", "csv"]
_BATCH = 10_000
SCHEMA = "tinyfin"
"""Of the database."""


class Column(NamedTuple):
    """What a column says."""

    role: Role
    """key: joins tables; attribute: to group by; sum: adds up over every other column; state: does
    not add up over days."""
    unit: str
    meaning: str


_KEYS = {
    "terminal": Column("key", "", "the lake's alias of a terminal"),
    "day": Column("key", "", "day of the terminal's clock, UTC"),
    "pack": Column("key", "", "how the id of the pack begins, 16 digits"),
}
_COUNTERS = {
    name: Column(
        "sum",
        "events" if name in ENGINE_COUNTERS else "frames",
        f"{name.replace('_', ' ')}, as reports count them",
    )
    for name in COUNTERS
}
TABLES: dict[str, dict[str, Column]] = {
    "terminal_day": {
        **_KEYS,
        "reports": Column("sum", "reports", "of that day that are in the lake"),
        "restarts": Column("sum", "restarts", "of the terminal"),
        "faults": Column("sum", "restarts", "by a fault"),
        "conflict": Column("attribute", "", "two differing reports of one number came"),
        "phase": Column("attribute", "", "of the pack that is not active, in the last report"),
        "reason": Column("attribute", "", "why the phase is what it is"),
        "level": Column("state", "", "of the thresholds, in the last report"),
        **_COUNTERS,
    },
    "restart": {
        **_KEYS,
        "reset_cause": Column("attribute", "", "power, fault, other"),
        "restarts": Column("sum", "restarts", "by that cause"),
    },
    "terminal": {
        "terminal": _KEYS["terminal"],
        "first_day": Column("attribute", "", "of its reports"),
        "last_day": Column("attribute", "", "of its reports"),
        "pack_now": Column("attribute", "", "of its newest report"),
    },
    "pack": {
        "pack": _KEYS["pack"],
        "first_day": Column("attribute", "", "on which a terminal ran it"),
        "last_day": Column("attribute", "", "on which a terminal ran it"),
        "terminals": Column("state", "terminals", "that ever ran it"),
    },
    "notice_day": {
        "day": _KEYS["day"],
        "scored": Column("sum", "transactions", "scored by all terminals"),
        "notices": Column("sum", "notices", "that terminals took"),
        "labels": Column("sum", "transactions", "of the day with a label"),
        "frauds": Column("sum", "transactions", "of the day with the label fraud"),
        "mature": Column("attribute", "", "nine of ten labels of the day are known"),
    },
}
"""By table and column, for who runs the fleet."""
_CELL = {
    "terminals": Column("state", "terminals", "in the cell; empty: too few to be said"),
    **{name: Column("sum", "", f"{name.replace('_', ' ')}; empty: too few") for name in MEASURES},
}
OTHERS_TABLES: dict[str, dict[str, Column]] = {
    f"by_{by}": {
        "day": Column("key", "", "or total"),
        by: Column("attribute", "", "or total"),
        **_CELL,
    }
    for by in BY
}
"""The same for others: those of ``tinyfin fleet publish``."""

_QUERIES = {
    "terminal": "SELECT terminal, min(day) AS first_day, max(day) AS last_day, "
    "arg_max(pack, day) AS pack_now FROM terminal_day GROUP BY terminal"
}


def tables_of(lake: Lake, *, others: bool = False) -> Iterator[tuple[str, pa.Table]]:
    """Name and rows of each table, in the order of its first columns. Raises InputError,
    ToolError."""
    described = OTHERS_TABLES if others else TABLES
    with connect(lake) as base:
        for name, columns in described.items():
            table = _published(base, name) if others else _whole(base, name, columns)
            yield name, table.select(list(columns))


def _whole(base: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, Column]) -> pa.Table:
    keys = [column for column, about in columns.items() if about.role == "key"]
    query = _QUERIES.get(name, f"SELECT * FROM {name}")
    found = base.sql(query).to_arrow_table()
    wide = [
        (field.name, pa.int64() if pa.types.is_decimal(field.type) else field.type)
        for field in found.schema
    ]
    return found.cast(pa.schema(wide)).sort_by([(key, "ascending") for key in keys])


def _published(base: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    return pa.Table.from_pylist(published(base, name.removeprefix("by_")))


def to_files(
    lake: Lake, folder: Path, *, format: Format = "parquet", others: bool = False
) -> list[str]:
    """Write the tables, and what their columns say (``columns.json``), into a folder; the names of
    the files. Raises InputError, ToolError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tables_of(lake, others=others):
        path = folder / f"{name}.{format}"
        with files.whole(path, private=not others) as unfinished:
            if format == "parquet":
                pq.write_table(table, unfinished, compression="zstd", store_schema=False)
            else:
                pa_csv.write_csv(table, unfinished)
        written.append(path.name)
    described = OTHERS_TABLES if others else TABLES
    facts = {t: {c: about._asdict() for c, about in of.items()} for t, of in described.items()}
    files.write(folder / "columns.json", json.dumps(facts, indent=2) + "\n")
    return [*written, "columns.json"]


def to_database(lake: Lake, url: str, *, others: bool = False) -> dict[str, int]:
    """Replace the tables of the schema :data:`SCHEMA` of a PostgreSQL by those of the lake, in one
    transaction, with a comment on each column; rows by table. Raises InputError, ToolError."""
    optional_packages.require(["sqlalchemy", "psycopg"], "to write into a PostgreSQL")
    import sqlalchemy as sa

    described = OTHERS_TABLES if others else TABLES
    found: dict[str, int] = {}
    try:
        engine = sa.create_engine(url)
        if engine.dialect.name != "postgresql":
            raise InputError(f"{engine.dialect.name}: tables go into a PostgreSQL")
        with engine.begin() as base:
            base.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            for name, table in tables_of(lake, others=others):
                made = _table(name, table.schema, described[name])
                made.drop(base, checkfirst=True)
                made.create(base)
                for batch in table.to_batches(_BATCH):
                    if batch.num_rows:
                        base.execute(made.insert(), batch.to_pylist())
                found[name] = table.num_rows
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InputError(f"the database refused it: {cause}") from error
    return found


def _table(name: str, schema: pa.Schema, columns: Mapping[str, Column]) -> sa.Table:
    import sqlalchemy as sa

    def kind(of: pa.DataType) -> type[sa.Boolean | sa.Date | sa.BigInteger | sa.Text]:
        if pa.types.is_boolean(of):
            return sa.Boolean
        if pa.types.is_date(of):
            return sa.Date
        return sa.BigInteger if pa.types.is_integer(of) else sa.Text

    made = [
        sa.Column(c, kind(schema.field(c).type), comment=_comment(about))
        for c, about in columns.items()
    ]
    return sa.Table(name, sa.MetaData(schema=SCHEMA), *made)


def _comment(about: Column) -> str:
    unit = f" [{about.unit}]" if about.unit else ""
    return f"{about.meaning}{unit}; {about.role}"
