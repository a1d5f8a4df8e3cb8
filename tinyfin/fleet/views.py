# SPDX-License-Identifier: Apache-2.0
"""DuckDB in memory over the Parquet files of a lake: the views of docs/formats/lake.md."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tinyfin import optional_packages
from tinyfin.errors import InputError
from tinyfin.field.report import COUNTERS
from tinyfin.fleet.lake import Lake, today
from tinyfin.fleet.packs import known_packs
from tinyfin.fleet.tables import LABEL, REPORT, SCHEMAS
from tinyfin.formats import ENGINE_COUNTERS, LINE_COUNTERS
from tinyfin.training.label_delays import slower_of

if TYPE_CHECKING:
    import duckdb

__all__ = ["VIEWS", "connect", "rows_of"]

_INTEGER, _TEXT = pa.int64(), pa.string()
_BINS = pa.schema(
    [("pack", _TEXT), ("position", _INTEGER), ("histogram", _TEXT), ("bin", _INTEGER)]
)
_ENGINE = ", ".join(
    f"{c} - CASE WHEN fell OR begun THEN 0 ELSE coalesce({c}_before, 0) END AS {c}"
    for c in ENGINE_COUNTERS
)
_LINE = ", ".join(
    f"{c} - CASE WHEN {c}_line <= {c} THEN {c}_line ELSE 0 END AS {c}" for c in LINE_COUNTERS
)
_BEFORE = ", ".join(f"lag({c}) OVER every AS {c}_before" for c in ENGINE_COUNTERS)
_LINE_BEFORE = ", ".join(f"lag({c}) OVER own AS {c}_line" for c in LINE_COUNTERS)
_FELL = " OR ".join(f"coalesce({c} < {c}_before, FALSE)" for c in ENGINE_COUNTERS)
_WIDE = ", ".join(f"{c}::BIGINT AS {c}" for c in COUNTERS)
_SUMS = ", ".join(f"sum({c}) AS {c}" for c in COUNTERS)

VIEWS = {
    "increment": f"""
        WITH before AS (
            SELECT *, DATE '2000-01-01' + CAST(hour // 24 AS INTEGER) AS day,
                lag(boot) OVER every AS boot_before, {_BEFORE}, {_LINE_BEFORE}
            FROM (SELECT * REPLACE ({_WIDE}) FROM report)
            WINDOW every AS (PARTITION BY terminal ORDER BY hour, audit_sequence, boot, number),
                own AS (PARTITION BY terminal, boot ORDER BY hour, number)
        ), compared AS (
            SELECT *, coalesce(boot <> boot_before, TRUE) AS first_of_boot, {_FELL} AS fell
            FROM before
        ), judged AS (
            SELECT *, first_of_boot AND 4 * count(*) FILTER (first_of_boot AND fell) OVER whole
                >= count(*) FILTER (first_of_boot AND boot_before IS NOT NULL) OVER whole
                AS begun
            FROM compared WINDOW whole AS (PARTITION BY terminal)
        )
        SELECT terminal, day, hour, boot, pack, reset_cause, first_of_boot, conflict, phase, reason,
            monitor_level, {_ENGINE}, {_LINE}
        FROM judged""",
    "terminal_day": f"""
        SELECT terminal, day, pack, count(*) AS reports,
            count(*) FILTER (first_of_boot) AS restarts,
            count(*) FILTER (first_of_boot AND reset_cause = 'fault') AS faults,
            bool_or(conflict) AS conflict, arg_max(phase, hour) AS phase,
            arg_max(reason, hour) AS reason, arg_max(monitor_level, hour) AS level, {_SUMS}
        FROM increment GROUP BY terminal, day, pack""",
    "restart": """
        SELECT terminal, day, pack, reset_cause, count(*) AS restarts
        FROM increment WHERE first_of_boot GROUP BY terminal, day, pack, reset_cause""",
    "pack": """
        SELECT pack, count(DISTINCT terminal) AS terminals, min(day) AS first_day,
            max(day) AS last_day, sum(scored) AS scored
        FROM terminal_day WHERE pack IS NOT NULL GROUP BY pack""",
    "reason": """
        SELECT reason, phase, count(DISTINCT terminal) AS terminals, max(day) AS last_day
        FROM terminal_day WHERE reason IS NOT NULL GROUP BY reason, phase""",
    "histogram": """
        WITH flat AS (
            SELECT terminal, boot, DATE '2000-01-01' + CAST(hour // 24 AS INTEGER) AS day, pack,
                monitor_halvings AS halvings, monitor_events AS events,
                unnest(range(len(monitor_counts))) AS position, unnest(monitor_counts) AS count
            FROM report WHERE pack IS NOT NULL
        )
        SELECT flat.*, pack_bin.histogram, pack_bin.bin
        FROM flat LEFT JOIN pack_bin USING (pack, position)""",
    "label_now": """
        SELECT terminal, transaction, card, DATE '2000-01-01' + CAST(hour // 24 AS INTEGER) AS day,
            arg_max(fraud, 2 * known_hour::BIGINT + fraud::INTEGER) AS fraud,
            max(known_hour) AS known_hour, min(known_hour) - min(hour) AS delay_h,
            bool_or(alerted) AS alerted
        FROM label GROUP BY terminal, transaction, card, day""",
    "notice_day": """
        WITH labelled AS (
            SELECT day, count(*) AS labels, count(*) FILTER (fraud) AS frauds,
                quantile_disc(delay_h, 0.5) AS delay_h_median,
                quantile_disc(delay_h, 0.9) AS delay_h_90
            FROM label_now GROUP BY day
        ), done AS (
            SELECT day, sum(scored) AS scored, sum(notices) AS notices
            FROM terminal_day GROUP BY day
        )
        SELECT day, scored, notices, notices / nullif(scored, 0) AS notice_share, labels, frauds,
            delay_h_median, delay_h_90,
            day + CAST(ceil((horizon_h + 24) / 24) AS INTEGER) <= as_of AS mature
        FROM labelled FULL JOIN done USING (day) CROSS JOIN maturity""",
}
"""By name, in the order in which they are made; each uses those before it."""


@contextlib.contextmanager
def connect(lake: Lake, until_day: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with the tables and views of the lake, while nobody changes it.

    until_day: the last day, counted from 2000-01-01, whose reports there are, and on which a label
    may have become known; all of them if None.

    Raises ToolError without DuckDB, InputError when something changes the lake for a minute, or its
    files cannot be read.
    """
    optional_packages.require(["duckdb"], "to ask a lake")
    import duckdb

    with lake.shared():
        base = duckdb.connect(
            config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
        )
        try:
            _attach(lake, base, until_day)
            yield base
        except duckdb.Error as error:
            raise InputError(
                f"{lake.path}: cannot be read: {error}; see `tinyfin fleet verify`"
            ) from error
        finally:
            base.close()


def _attach(lake: Lake, base: duckdb.DuckDBPyConnection, until_day: int | None) -> None:
    until_h = 1 << 40 if until_day is None else 24 * (until_day + 1)
    manifest = lake.manifest().parts
    for name, schema in SCHEMAS.items():
        parts = [part for key, part in manifest.items() if key.startswith(f"{name}/")]
        if parts and not lake.settings.encrypted:
            paths = [str(lake.path / part.file) for part in parts]
            found = base.read_parquet(paths)
        else:  # DuckDB 2.0 reads no lists from encrypted files
            tables = [schema.empty_table(), *map(lake.read, parts)]
            found = base.from_arrow(pa.concat_tables(tables))
        hour = "known_hour" if name == LABEL else "hour"
        found.filter(f"{hour} < {until_h}").create_view(name)
    bins = [
        {"pack": pack, "position": position, "histogram": histogram.name, "bin": bin}
        for pack, facts in known_packs(lake).items()
        for position, (histogram, bin) in enumerate(
            (h, bin) for h in facts.histograms for bin in range(h.bins)
        )
    ]
    base.register("pack_bin_rows", pa.Table.from_pylist(bins, _BINS))
    base.execute("CREATE VIEW pack_bin AS SELECT * FROM pack_bin_rows")
    horizon, newest = _label_horizon_hours(base)
    base.execute(
        f"CREATE VIEW maturity AS SELECT {'NULL' if horizon is None else horizon} AS horizon_h, "
        f"DATE '2000-01-01' + {newest // 24} AS as_of"
    )
    for name, query in VIEWS.items():
        base.execute(f"CREATE VIEW {name} AS {query}")


def _label_horizon_hours(base: duckdb.DuckDBPyConnection) -> tuple[int | None, int]:
    """Within how many hours nine of ten labels of the slower kind become known (None without any),
    and the hour that this was known at: that of the newest label, or report, that is not of days to
    come."""
    end_h = 24 * (today() + 1)
    wanted = f"SELECT hour, known_hour, fraud FROM {LABEL} WHERE known_hour < {end_h}"
    rows = base.execute(wanted).fetchnumpy()
    found = base.execute(f"SELECT max(hour) FROM {REPORT} WHERE hour < {end_h}").fetchall()
    reports = found[0][0] or 0
    if not len(rows["hour"]):
        return None, int(reports)
    hour, known = rows["hour"].astype(np.int64), rows["known_hour"].astype(np.int64)
    newest = max(int(known.max()), int(reports))
    return slower_of(hour, known, rows["fraud"].astype(np.int8), newest), newest


def rows_of(base: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query, as JSON can say them. Raises InputError when it is none."""
    import duckdb

    try:
        found = base.execute(query)
        names = [column[0] for column in found.description]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise InputError(f"the query failed: {error}") from error


def _plain(value: object) -> object:
    return str(value) if hasattr(value, "isoformat") else value
