# SPDX-License-Identifier: Apache-2.0
"""A lake as a star schema: files and a real PostgreSQL against the lake's own views."""

from __future__ import annotations

import csv
import json
import re
import stat
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from tests.rollout.conftest import postgres
from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import ROOT
from tinyfin.fleet.export import OTHERS_TABLES, TABLES, to_files
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.views import connect, rows_of

__all__ = ["postgres"]

TERMINALS, DAYS = 12, 5


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = bench.new_lake(tmp_path_factory.mktemp("export") / "lake")
    assert not bench.take(made, bench.tar(*bench.fleet(TERMINALS, DAYS))).refused
    return made


def totals(lake: Lake) -> dict[str, object]:
    with connect(lake) as base:
        [row] = rows_of(
            base,
            "SELECT sum(scored)::BIGINT AS s, count(*) AS n, sum(restarts) AS r FROM terminal_day",
        )
    return row


def test_files_hold_what_the_lake_says(lake: Lake, tmp_path: Path) -> None:
    names = to_files(lake, tmp_path)
    assert names == [*(f"{name}.parquet" for name in TABLES), "columns.json"]
    tables = {name: pq.read_table(tmp_path / f"{name}.parquet") for name in TABLES}
    want = totals(lake)
    facts = tables["terminal_day"]
    assert (facts.num_rows, sum(facts["scored"].to_pylist())) == (want["n"], want["s"])
    assert sum(tables["restart"]["restarts"].to_pylist()) == want["r"]
    for name, table in tables.items():
        assert table.column_names == list(TABLES[name])
    # each key of a fact has its row in the dimension
    for dimension in ("terminal", "pack"):
        known = set(tables[dimension][dimension].to_pylist())
        assert set(facts[dimension].to_pylist()) - {None} <= known
        assert len(known) == tables[dimension].num_rows
    assert stat.S_IMODE((tmp_path / "terminal_day.parquet").stat().st_mode) == 0o600
    again = tmp_path / "again"
    to_files(lake, again)
    for name in names:
        assert (tmp_path / name).read_bytes() == (again / name).read_bytes()


def test_csv_and_tables_for_others(lake: Lake, tmp_path: Path) -> None:
    said = tinyfin_json("fleet", "export", lake.path, tmp_path / "csv", "--csv", "--others")
    assert said["files"] == [*(f"{name}.csv" for name in OTHERS_TABLES), "columns.json"]
    published = tinyfin_json("fleet", "publish", lake.path, "--by", "pack")["rows"]
    with (tmp_path / "csv" / "by_pack.csv").open() as file:
        rows = list(csv.DictReader(file))
    blank = {None: ""}
    assert rows == [{k: str(blank.get(v, v)) for k, v in row.items()} for row in published]
    text = "".join(path.read_text() for path in (tmp_path / "csv").iterdir())
    with connect(lake) as base:
        aliases = [row["terminal"] for row in rows_of(base, "SELECT DISTINCT terminal FROM report")]
    assert not any(alias in text for alias in aliases)
    # the control: for who runs the fleet they are there
    to_files(lake, tmp_path / "own", format="csv")
    assert aliases[0] in (tmp_path / "own" / "terminal.csv").read_text()


def test_columns_are_described(lake: Lake, tmp_path: Path) -> None:
    to_files(lake, tmp_path)
    described = json.loads((tmp_path / "columns.json").read_text())
    for name, columns in TABLES.items():
        assert described[name] == {c: about._asdict() for c, about in columns.items()}
        schema = pq.read_schema(tmp_path / f"{name}.parquet")
        for column, about in columns.items():
            number = pa.types.is_integer(schema.field(column).type)
            assert number or about.role not in ("sum", "state"), (name, column)
    page = (ROOT / "docs" / "bi.md").read_text()
    for name, columns in TABLES.items():
        row = re.search(rf"^\| `{name}` \|([^|]*)\|", page, re.MULTILINE)
        assert row, name
        keys = [c for c, about in columns.items() if about.role == "key"]
        assert re.findall(r"`(\w+)`", row[1]) == keys


def test_a_real_postgresql(lake: Lake, postgres: str) -> None:
    def asked(sql: str) -> list[SimpleNamespace]:
        with sa.create_engine(postgres).connect() as base:
            return [SimpleNamespace(**row._asdict()) for row in base.execute(sa.text(sql))]

    want = totals(lake)
    for _ in range(2):  # the second time replaces the first
        rows = tinyfin_json("fleet", "export", lake.path, "--postgres", postgres)["rows"]
        assert rows["terminal_day"] == want["n"]
        [found] = asked(
            "SELECT count(*) AS n, sum(scored) AS s, sum(r.n) AS r FROM tinyfin.terminal_day t "
            "LEFT JOIN (SELECT terminal, day, pack, sum(restarts) AS n FROM tinyfin.restart "
            "GROUP BY 1, 2, 3) r USING (terminal, day, pack)"
        )
        assert (found.n, int(found.s), int(found.r)) == (want["n"], want["s"], want["r"])
    comments = {
        (one.table_name, one.column_name): one.said
        for one in asked(
            "SELECT table_name, column_name, col_description((table_schema || '.' || table_name)"
            "::regclass, ordinal_position) AS said FROM information_schema.columns "
            "WHERE table_schema = 'tinyfin'"
        )
    }
    assert set(comments) == {(name, column) for name, of in TABLES.items() for column in of}
    assert comments["terminal_day", "faults"] == "by a fault [restarts]; sum"
    page = (ROOT / "docs" / "bi.md").read_text()
    [questions] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    answers = [asked(question) for question in questions.strip().rstrip(";").split(";")]
    assert len(answers) == 5
    assert all(answers[:4])


def test_bad_databases_are_named(lake: Lake) -> None:
    for url, said in (("sqlite://", "sqlite"), ("nonsense", "refused"), ("", "name a folder")):
        words = ["--postgres", url] if url else []
        done = tinyfin("fleet", "export", lake.path, *words, code=None)
        assert done.exit_code in (2, 3)
        assert said in done.stderr
