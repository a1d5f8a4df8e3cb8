# SPDX-License-Identifier: Apache-2.0
"""Messages say which file, line, column or option a person has to look at."""

from __future__ import annotations

import csv as csv_module
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cli import tinyfin
from tinyfin.config import from_table
from tinyfin.data.readers import read
from tinyfin.data.tables import read_table
from tinyfin.errors import DataError, InputError
from tinyfin.features.auto import resolve_names

Write = Callable[..., Path]


def refused(paths: list[Path], data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        read(paths, from_table({"data": data}))
    return str(caught.value)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["2024-01-01T10:00:00,", "2024-01-02T00:00:00,5"], "1 of 2 rows have no amount"),
        (["2024-01-01T00:00:00,1", "2024-01-02,5"], "every time is midnight"),
        (["2024-01-01T10:00:00,1", "2024-01-02,5"], None),
        (["2024-01-01,1"], None),
    ],
)
def test_rows_without_amount_or_time_of_day(csv: Write, cells: list[str], told: str | None) -> None:
    notes: list[str] = []
    config = from_table({"data": {"time": "t", "amount": "a"}})
    read(csv("t,a", *cells), config, progress=notes.append)
    found = [x for x in notes if "no amount" in x or "midnight" in x]
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


def test_midnight_by_the_clock_on_the_wall(csv: Write) -> None:
    notes: list[str] = []
    config = from_table({"data": {"time": "t"}})
    read(
        csv("t", "2024-01-01T00:00:00+02", "2024-01-02T00:00:00+02"), config, progress=notes.append
    )
    assert any("every time is midnight" in x for x in notes)


@pytest.mark.parametrize("verb", ["features", "score", "train", "evaluate", "compare", "replay"])
def test_a_folder_is_refused_with_the_names_in_it(tmp_path: Path, verb: str) -> None:
    pq.write_table(pa.table({"time": [1]}), tmp_path / "part-0.parquet")
    (tmp_path / "_SUCCESS").touch()
    words = {
        "features": [tmp_path, "--out", tmp_path / "o.csv"],
        "train": [tmp_path],
        "score": ["run", tmp_path, "--out", tmp_path / "o.csv"],
        "evaluate": ["run", tmp_path],
        "compare": ["a", "b", tmp_path],
        "replay": [tmp_path, tmp_path, "--target", "host"],
    }
    answer = tinyfin(verb, *words[verb], code=None)
    assert answer.exit_code in (2, 3)
    shown = re.sub(r"\s+", " ", answer.stderr)
    assert f"is a folder; name its files: {tmp_path}/*.parquet" in shown


def test_an_empty_mark_of_spark_is_named(tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS").touch()
    assert "a mark that Spark or Hadoop leaves" in refused([tmp_path / "_SUCCESS"], {"time": "t"})
    (tmp_path / "a.csv").touch()
    assert "Spark" not in refused([tmp_path / "a.csv"], {"time": "t"})


def test_names_that_differ_in_case_are_suggested(csv: Write) -> None:
    message = refused([csv("TX_DATETIME,B", "2024-01-01,1")], {"time": "tx_datetime"})
    assert "did you mean 'TX_DATETIME'?" in message


def test_names_that_are_there_twice_are_given_with_their_places(csv: Write) -> None:
    message = refused([csv("t,a,b,a,a", "2024-01-01,1,2,3,4")], {"time": "t", "amount": "a"})
    assert "columns 2, 4 and 5 are all named 'a'" in message


@pytest.mark.parametrize("ending", [".xlsx", ".json", ".csv.gz", ".feather"])
def test_tables_of_other_kinds_are_not_written(csv: Write, tmp_path: Path, ending: str) -> None:
    data, out = csv("time", "2024-01-01"), tmp_path / f"o{ending}"
    for words in (
        ["features", data, "--out", out],
        ["simulate", "--out", out],
        ["host-fields", data, "--out", out],
    ):
        answer = tinyfin(*words, code=3)
        assert ".csv" in answer.stderr
        assert ".parquet" in answer.stderr
        assert not out.exists()


def test_rows_set_aside_are_csv(csv: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"end the name in \.csv"):
        read(csv("time", "2024-01-01"), from_table({}), skip_bad_rows=tmp_path / "bad.parquet")


def test_an_output_that_a_failure_leaves_alone_is_named(csv: Write, tmp_path: Path) -> None:
    out, data = tmp_path / "o.csv", csv("time", "never")
    answer = tinyfin("features", data, "--out", out, code=3)
    assert "unchanged" not in answer.stderr
    out.write_text("old")
    answer = tinyfin("features", data, "--out", out, code=3)
    assert f"{out} is unchanged" in answer.stderr
    assert "unchanged" not in tinyfin("features", csv("time", "2024-01-01"), "--out", out).stderr


def test_a_line_of_dashes_is_named(csv: Write) -> None:
    data = {"time": {"column": "t"}, "amount": "a"}
    path = csv("t,a", "-------------------,-----", "2024-01-01T10:00:00,1")
    assert f"Row 1 of {path} is a line of dashes under the names" in refused([path], data)
    path = csv("t\ta", "------+------", "2024-01-01T10:00:00\t1")
    assert "is a line of dashes" in refused([path], data)
    path = csv("t,a", "2024-01-01T10:00:00,-5")
    assert "line of dashes" not in refused([path], data)


def test_the_other_row_with_an_id_is_named(csv: Write) -> None:
    one = csv("time,id", "2024-01-01,7", "2024-01-02,8", name="one.csv")
    two = csv("time,id", "2024-01-03,9", "2024-01-04,8", "2024-01-05,8", name="two.csv")
    message = refused([one, two], {"time": "time", "id": "id"})
    assert f"an earlier row has it: {one}, row 2" in message
    assert f"an earlier row has it: {two}, row 2" in message


CELLS = st.lists(st.text(alphabet='ab ,"\n\r', max_size=4), min_size=2, max_size=2)


@given(rows=st.lists(CELLS, min_size=1, max_size=6), blank=st.integers(0, 6), sep=st.booleans())
def test_lines_are_those_in_which_rows_begin(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], blank: int, sep: bool
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.csv"
    text, begins = "sep=,\nt,a\n" if sep else "t,a\n", []
    for i, cells in enumerate(rows):
        text += "\n" if i == blank else ""
        begins.append(len(text.splitlines()) + 1)
        out = io.StringIO()
        csv_module.writer(out, quoting=csv_module.QUOTE_ALL, lineterminator="\n").writerow(cells)
        text += out.getvalue()
    path.write_text(text, newline="")
    table, bad = read_table(path, {"t": "t", "a": "a"}, False)
    assert table.column("a").to_pylist() == [cells[1] for cells in rows]
    numbers = set(bad.rows.tolist())
    assert bad.lines(numbers) == dict(zip(sorted(numbers), begins, strict=True))


def test_refunds_below_zero_feed_the_type() -> None:
    def names(**amount: str) -> list[str]:
        data = {"time": "t", "terminal": "m", "token": "c", "amount": {"column": "a", **amount}}
        features = resolve_names(from_table({"data": data}), {"t", "m", "c", "a"})
        return list(features.names)

    more = set(names(negative="refund")) - set(names(negative="absolute"))
    assert any("refund" in name for name in more), more
    assert names(negative="absolute") == names()
