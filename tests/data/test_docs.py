# SPDX-License-Identifier: Apache-2.0
"""docs/data.md: its examples load, and its tables name what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tinyfin.config import Data, from_table, load
from tinyfin.config.columns import SPECIAL_NAMES, Column
from tinyfin.data.cells import EMPTY
from tinyfin.data.readers import read
from tinyfin.data.transactions import format_time
from tinyfin.schema import PAYMENT
from tinyfin.simulator.attacks import attacks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_examples_load() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 11
    for block in blocks:
        from_table(tomllib.loads(block))


def test_tables_are_complete() -> None:
    data = (name for name in Data.model_fields if name != "columns")
    for name in (*SPECIAL_NAMES, *Column.model_fields, *data, *filter(None, EMPTY)):
        assert f"`{name}`" in PAGE or f"`{name} =" in PAGE, name
    for name, attack in attacks().items():
        label = "fraud" if attack.label else "genuine"
        assert f"| `{name}` | {label} |" in PAGE, name


def rows_of(name: str) -> list[list[str]]:
    table = PAGE.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
    return [
        [cell.strip() for cell in row.strip("| ").split(" | ")]
        for row in table.replace("| |", "|  |").splitlines()[2:]
    ]


def test_times_and_amounts_are_read_as_the_tables_say(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for table, name, unit in (("times", "time", ""), ("amounts", "amount", 'unit = "major"')):
        rows = rows_of(table)
        assert len(rows) > 10
        for written, options, *wanted in rows:
            path.write_text("t\tx\n" + f"2024-01-01\t{written.strip('`')}\n")
            given = ", ".join(filter(None, ('column = "x"', unit, options.strip("`"))))
            data = {"time": "t", **tomllib.loads(f"{name} = {{{given}}}")}
            tx = read(path, from_table({"data": data}))
            found = (
                [format_time(int(t[0])) for t in (tx.t_mono_s, tx.t_local_s)]
                if name == "time"
                else [str(tx.column("amount_minor")[0])]
            )
            assert found == wanted, written


def test_the_fields_of_a_payment_are_all_there() -> None:
    rows = []
    for f in PAYMENT.fields:
        kind = " ".join(f"`{name}`" for name in f.values) or f.type
        missing = f.values[f.missing] if f.values and f.missing >= 0 else f.missing
        rows.append(f"| `{f.name}` | {kind} | {missing} | {f.doc} |")
    head = "| field | type | missing | meaning |\n|---|---|---|---|\n"
    table = PAGE.partition("<!-- payment -->\n")[2].partition("\n<!-- /payment -->")[0]
    assert table == head + "\n".join(rows)


def test_committed_mappings_load() -> None:
    tables = [p for p in (ROOT / "models/adbench").glob("*.toml") if not p.match("*.gate.toml")]
    assert len(tables) == 4
    for path in (*tables, ROOT / "models/ulb/tinyfin.toml"):
        config = load(path)
        assert config.data.plain
        assert len(config.features.names) == len(config.schema.fields)
    assert load(ROOT / "models" / "handbook" / "tinyfin.toml").data.label_delay_s == 7 * 86400
