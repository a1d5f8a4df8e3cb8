# SPDX-License-Identifier: Apache-2.0
"""What is put into a file is found, what is not is not, and a gate decides the exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tests.support.transactions import transactions
from tinyfin import check
from tinyfin.config import Simulate, from_table, load
from tinyfin.data.currencies import CURRENCIES, EXPONENTS
from tinyfin.data.health import Health
from tinyfin.errors import DataError, ModelError
from tinyfin.results.check import DataCheck
from tinyfin.results.reference import Reference
from tinyfin.schema import PAYMENT
from tinyfin.simulator import simulate
from tinyfin.training.reference import category_bins
from tinyfin.training.run_folder import RunFolder

DAY_S = 86_400
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return simulate(Simulate(terminals=6, days=24, seed=4))


def seconds(table: pa.Table) -> np.ndarray:
    """The times."""
    return np.asarray(table["time"].cast(pa.timestamp("s")).cast(pa.int64()))


def column(table: pa.Table, name: str, values: Any) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values, table.schema.field(name).type))


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., DataCheck]:
    """What the check finds in a table, read in small chunks."""

    def looked(table: pa.Table, text: str = "", **more: Any) -> DataCheck:
        pq.write_table(table, tmp_path / "tx.parquet")
        (tmp_path / "tinyfin.toml").write_text(text)
        config = load(tmp_path / "tinyfin.toml") if text or "against" not in more else None
        return check(tmp_path / "tx.parquet", config, chunk_rows=1000, **more)

    return looked


def state(found: DataCheck, name: str) -> str:
    (one,) = (row.state for row in found.checks if row.check == name)
    return one


def test_a_clean_file_is_clean(table: pa.Table, look: Callable[..., DataCheck]) -> None:
    """The control of every test below."""
    found = look(table)
    assert {one.check: one.text for one in found.checks if one.state != "ok"} == {}
    assert (found.state, found.failed, found.warnings) == ("ok", 0, 0)
    assert found.data.rows == table.num_rows
    assert sum(day.rows for day in found.days) == table.num_rows
    assert found.labels is not None
    assert found.labels.horizon_days == 7
    t = seconds(table)
    assert found.labels.too_recent == pytest.approx(np.mean(t > t.max() - 7 * DAY_S), abs=0.001)


def test_doubles(table: pa.Table, look: Callable[..., DataCheck]) -> None:
    again = table.slice(500, 40)
    new = column(again, "id", np.arange(10**6, 10**6 + 40))
    with_card = int(np.count_nonzero(again["token"].to_numpy(zero_copy_only=False) != 0))
    found = look(pa.concat_tables([table, new]).sort_by("time"))
    assert found.doubles.rows == with_card > 10
    assert state(found, "double rows") == "warning"
    found = look(pa.concat_tables([table, again]).sort_by("time"))
    assert (found.doubles.ids, found.data.bad_rows, found.doubles.rows) == (40, 40, 0)
    assert (state(found, "double ids"), state(found, "bad rows")) == ("failed", "failed")


def test_doubles_of_different_chunks_have_no_example(look: Callable[..., DataCheck]) -> None:
    rows = pa.table({"amount_minor": [*range(1200), 0], "token": [7] * 1201})
    found = look(rows, "[data]\nplain = true\n")
    assert (found.doubles.rows, found.doubles.example) == (1, None)
    (text,) = (one.text for one in found.checks if one.check == "double rows")
    assert text == "1 rows are those of others once more"


def test_gaps_and_silence(table: pa.Table, look: Callable[..., DataCheck]) -> None:
    t = seconds(table)
    begin = int(t.min()) // DAY_S * DAY_S
    hole = (t >= begin + 10 * DAY_S) & (t < begin + 13 * DAY_S)
    found = look(table.filter(pa.array(~hole)))
    assert len(found.gaps) == 1
    assert 72 <= found.gaps[0].hours < 96
    assert state(found, "gaps in time") == "warning"
    assert sum(day.rows == 0 for day in found.days) == 3
    name = table["terminal"][0].as_py()
    mine = np.array(table["terminal"].to_pylist()) == name
    found = look(table.filter(pa.array(~(mine & (t > begin + 12 * DAY_S)))))
    assert [one.terminal for one in found.silent] == [name]
    assert found.silent[0].silent_days > 11
    assert not found.gaps


def test_codes_and_missing_values(table: pa.Table, look: Callable[..., DataCheck]) -> None:
    currency = table["currency"].to_numpy().copy()
    currency[::50] = 666
    amount = [None if i % 10 == 0 else x for i, x in enumerate(table["amount_minor"].to_pylist())]
    found = look(column(column(table, "currency", currency), "amount_minor", amount))
    assert found.codes["currency"].codes == [666]
    assert found.codes["currency"].rows == len(currency[::50])
    assert found.missing["amount_minor"] == pytest.approx(0.1, abs=0.001)
    assert state(found, "codes") == state(found, "missing values") == "warning"
    assert {756, 840, 978, 392, *EXPONENTS} < CURRENCIES


@pytest.mark.parametrize(
    ("name", "code", "is_one"),
    [
        ("mcc", 0, True),
        ("mcc", 742, True),
        ("mcc", 5411, True),
        ("mcc", 12, False),
        ("mcc", 99, False),
        ("mcc", 10_000, False),
        ("mcc", -5, False),
        ("currency", 12, True),
        ("currency", 13, False),
        ("currency", -1, False),
    ],
)
def test_values_that_cannot_be_codes(
    table: pa.Table, look: Callable[..., DataCheck], name: str, code: int, is_one: bool
) -> None:
    few = table.slice(0, 300)
    found = look(column(few, name, [code] * few.num_rows))
    assert (name not in found.codes) == is_one
    assert is_one or found.codes[name].rows == few.num_rows


@pytest.mark.parametrize("name", ["entry_mode", "transaction_type", "cvm", "result", "response"])
def test_a_code_that_its_field_does_not_have_is_a_bad_row(
    table: pa.Table, look: Callable[..., DataCheck], name: str
) -> None:
    few = table.slice(0, 9)
    words = [*few[name].cast(pa.string()).to_pylist()[:-2], "117", "117"]
    at = few.column_names.index(name)
    assert look(few.set_column(at, name, pa.array(words))).data.bad_rows == 2


def test_card_numbers_in_a_column_that_nothing_reads(
    table: pa.Table, look: Callable[..., DataCheck]
) -> None:
    pans = ["4111111111111111", "5555555555554444", "4012888888881881", "378282246310005"]
    spoiled = table.append_column("note", pa.array([pans[i % 4] for i in range(len(table))]))
    found = look(spoiled)
    assert [one.column for one in found.cards] == ["note"]
    assert state(found, "card numbers") == "failed"
    with pytest.raises(DataError, match="holds card numbers"):
        look(spoiled, '[data]\ntime = "time"\nterminal = "note"\n')


def test_rows_that_cannot_be_read_are_counted_by_rule(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,amount_minor\n2024-05-01,5\nnever,6\n2024-05-02,x\n2024-05-03,7\n1,2,3\n")
    found = check(path)
    assert (found.data.rows, found.data.bad_rows, sum(found.bad_rows.values())) == (2, 3, 3)
    assert state(found, "bad rows") == "failed"
    path.write_text("time,amount_minor\nnever,6\n")
    with pytest.raises(DataError, match="1 bad row"):
        check(path)


def test_labels_that_are_still_to_come(table: pa.Table, look: Callable[..., DataCheck]) -> None:
    t = seconds(table)
    label = table["label"].to_pylist()
    rng = np.random.default_rng(1)
    known = t + rng.integers(2 * DAY_S, 8 * DAY_S, len(t))
    hidden = [x if k <= t.max() else 0 for x, k in zip(label, known, strict=True)]
    at = pa.array(known, pa.timestamp("s"))
    found = look(column(table, "label", hidden).append_column("label_time", at))
    assert found.labels is not None
    delay = found.labels.delay_days["genuine"]
    assert 2 <= delay.median < delay.nine_of_ten < delay.most <= 8
    assert found.labels.too_recent > 0.1


def test_a_file_of_labels_that_is_not_there(
    table: pa.Table, look: Callable[..., DataCheck], tmp_path: Path
) -> None:
    """Its frauds would count as genuine without a word."""
    file = tmp_path / "chargebacks.csv"
    text = f"""[data]
id = "id"
time = "time"
terminal = "terminal"
amount = "amount_minor"
[labels]
unlisted = "genuine"
[labels.bank]
file = "{file}"
id = "tx"
label = {{constant = 1}}
"""
    found = look(table, text)
    assert state(found, "label files") == "failed"
    assert found.label_files_gone == [str(file)]
    file.write_text(f"tx\n{table['id'][0]}\n")
    assert look(table, text).label_files_gone == []


def test_milliseconds_are_no_card_numbers(tmp_path: Path) -> None:
    """A time of thirteen digits that a card number could be; elsewhere it is one."""
    path = tmp_path / "tx.csv"
    path.write_text("time,terminal,amount_minor,other\n4300000000000,T1,5,4300000000000\n")
    assert [one.column for one in check(path).cards] == ["other"]


def test_drift_against_a_run(
    small: dict[str, Path], run_copy: Path, look: Callable[..., DataCheck]
) -> None:
    """The run's own data does not drift; other amounts do, and codes that it never saw are said."""
    table = pq.read_table(small["data"])
    mcc = table["mcc"].to_numpy().copy()
    reference = RunFolder(run_copy).read(Reference)
    assert reference.fields is not None
    reference.fields.append(category_bins("mcc", "field", mcc, np.ones(len(mcc), np.bool_)))
    RunFolder(run_copy).write(reference)
    found = look(table, against=run_copy)
    assert found.against is not None
    assert {one.state for one in found.against.columns} <= {"ok", "warning"}
    assert found.against.unseen["mcc"] == 0
    mcc[::5] = 7995
    dear = column(table, "amount_minor", pc.multiply(table["amount_minor"], 5))
    found = look(column(dear, "mcc", mcc), against=run_copy)
    assert state(found, "drift of amount_minor") == "failed"
    assert found.against is not None
    assert found.against.unseen["mcc"] == pytest.approx(0.2, abs=0.01)
    assert state(found, "unseen mcc") == "warning"
    (run_copy / Reference.NAME).unlink()
    with pytest.raises(ModelError, match="kept nothing of its fields"):
        look(table, against=run_copy)


def test_the_verb_its_page_and_its_gate(table: pa.Table, tmp_path: Path) -> None:
    data, out, gate = tmp_path / "tx.parquet", tmp_path / "out", tmp_path / "gate.toml"
    pq.write_table(pa.concat_tables([table, table.slice(9, 1)]), data)
    page = (DOCS / "check.md").read_text(encoding="utf-8")
    gate.write_text(re.findall(r"```toml\n(.*?)```", page, re.S)[0])
    result = tinyfin("check", data, "--out", out, "--gate", gate, code=4)
    assert "gate FAILS: doubles.ids = 1, at most 0" in result.output
    assert "the gate failed" in result.output
    facts = json.loads((out / "check.json").read_text())
    assert DataCheck.parse(facts, "check.json").failed == 2
    html = (out / "check.html").read_text()
    assert "The gate fails" in html
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    result = tinyfin("check", data, "--out", out)  # without a gate it only tells
    assert "failed  double ids" in result.output
    gate.write_text('[gate]\n"doubles.idz" = {max = 0}\n')
    result = tinyfin("check", data, "--out", out, "--gate", gate, code=3)
    assert "did you mean 'ids'" in result.output
    pq.write_table(table, data)
    gate.write_text('[gate]\n"failed" = {max = 0}\n"doubles.ids" = {max = 0}\n')
    assert "gate holds" in tinyfin("check", data, "--out", out, "--gate", gate).output


def test_every_check_is_on_the_page(table: pa.Table, look: Callable[..., DataCheck]) -> None:
    """Those of every file; the others are named after files of labels and fields."""
    page = (DOCS / "check.md").read_text(encoding="utf-8")
    assert len(look(table).checks) == 9
    for one in look(table).checks:
        assert f"| {one.check} |" in page


def test_training_says_the_worst_in_three_lines_and_reads_once(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyfin.data import readers
    from tinyfin.training.dataset import prepare

    read = []
    chunks = readers.read_table_chunks
    monkeypatch.setattr(readers, "read_table_chunks", lambda *of: read.append(of[0]) or chunks(*of))
    spoiled = pa.concat_tables(
        [table, column(table.slice(100, 50), "id", np.arange(10**6, 10**6 + 50))]
    ).sort_by("time")
    currency = spoiled["currency"].to_numpy().copy()
    currency[:9] = 666
    pq.write_table(column(spoiled, "currency", currency), tmp_path / "bad.parquet")
    pq.write_table(table, tmp_path / "good.parquet")
    said: list[str] = []
    prepare([tmp_path / "bad.parquet"], from_table({}), note=said.append)
    lines = [line for line in said if line.startswith("WARNING")]
    assert 1 < len(lines) <= 3
    assert "are there twice" in lines[0]
    assert "currency of no ISO list (666)" in lines[1]
    assert "`tinyfin check` says more" in lines[-1]
    assert len(read) == 1
    said.clear()
    prepare([tmp_path / "good.parquet"], from_table({}), note=said.append)
    assert not [line for line in said if line.startswith("WARNING")]


def test_counts_do_not_depend_on_the_chunks() -> None:
    rng = np.random.default_rng(6)
    n = 4000
    values = np.zeros((n, len(PAYMENT.fields)), np.int64)
    values[:, PAYMENT.index("token")] = rng.integers(1, 9, n)
    t = np.sort(rng.integers(0, 30 * DAY_S, n)) // 600 * 600
    tx = transactions(
        t + 3 * DAY_S * (t > 10 * DAY_S) + 10**8,
        values=values,
        present=np.full(n, 1 << PAYMENT.index("token")),
        terminal=rng.integers(0, 5, n) * (np.arange(n) < 2500),
        terminals=tuple("abcde"),
    )

    def counted(size: int) -> Health:
        health = Health(from_table({}))
        for start in range(0, n, size):
            health.add(tx.take(slice(start, start + size)))
        return health

    whole, parts = counted(n), counted(37)
    assert parts.doubles(0).rows == whole.doubles(0).rows > 0
    assert parts.silent() == whole.silent()
    assert len(whole.silent()) == 4
    assert parts.gaps() == whole.gaps()
    assert len(whole.gaps()) == 1
    assert parts.days() == whole.days()
