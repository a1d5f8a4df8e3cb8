# SPDX-License-Identifier: Apache-2.0
"""What a lake and its tables for others must not say, and what is gone when it is erased."""

from __future__ import annotations

import random
import re
import tarfile
from fractions import Fraction
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.data.cards import is_luhn
from tinyfin.fleet import publish
from tinyfin.fleet.labels import add_labels
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.publish import TOTAL, Cell, Key, suppressed
from tinyfin.fleet.upkeep import erase, retain

AMOUNT = 987_654_321


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *bench.fleet(3, 3))
    add_labels(lake, [bench.label_file(tmp_path / "labels.csv")])
    return lake


def contents(lake: Lake) -> bytes:
    """Every byte of a lake, of Parquet files those of their values too."""
    found = []
    for path in bench.places(lake):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += repr(pq.read_table(path).to_pydict()).encode()
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                members = [archive.extractfile(member) for member in archive]
                data += b"".join(member.read() for member in members if member)
        found.append(path.name.encode() + data)
    return b"".join(found)


def spelled(value: bytes) -> list[bytes]:
    """The ways in which eight bytes may be written."""
    number = int.from_bytes(value, "big")
    return [value, value[::-1], value.hex().encode(), str(number).encode()]


def test_no_card_token_amount_or_second_is_in_a_lake(lake: Lake, tmp_path: Path) -> None:
    """The files that came are put aside first: a report has seconds and the terminal's id."""
    for path in (lake.path / "processed").iterdir():
        path.unlink()
    every = contents(lake)
    for secret in (bench.TOKEN.to_bytes(8, "big"), bench.terminal(0), (4111003).to_bytes(8, "big")):
        for spelling in spelled(secret):
            assert spelling not in every
    for run in re.findall(rb"(?<![0-9.])[0-9]{13,19}(?![0-9])", every):
        assert not is_luhn(run.decode()), run
    seconds = bench.FIRST_DAY * bench.DAY_S + 1234
    assert str(seconds).encode() not in every
    assert str(seconds // 3600).encode() in every, "the hour is"
    control = every + str(bench.TOKEN).encode()
    assert any(spelling in control for spelling in spelled(bench.TOKEN.to_bytes(8, "big")))


def test_a_terminal_is_erased(lake: Lake) -> None:
    """From tables, from what came, from what waits and from what was refused."""
    gone, other = bench.terminal(1), bench.terminal(2)
    mine = [data for data in bench.fleet(3, 5, seed=9) if gone in data]
    theirs = [data for data in bench.fleet(3, 5, seed=9) if other in data]
    (lake.inbox / "a.tar").write_bytes(bench.tar(*mine, *theirs))
    (lake.inbox / "mine").write_bytes(mine[0])
    (lake.inbox / "cut").write_bytes(mine[0][:40])
    bench.take(lake, bench.forged(mine[1]))
    (lake.inbox / "b.tar").write_bytes(bench.tar(*mine, *theirs))
    before, alias = contents(lake), lake.key.terminal(gone).encode()
    assert gone in before
    assert alias in before
    rows = sum(part.rows for part in lake.manifest().parts.values())
    said = tinyfin_json(f"fleet erase {lake.path} --terminal {gone.hex()}")
    assert 0 < said["rows"] < rows
    lake = Lake(lake.path)
    after = contents(lake)
    for spelling in [alias, *spelled(gone)]:
        assert spelling not in after
    assert other in after
    assert lake.faults() == []
    done = bench.take(lake, mine[2])
    assert done.refused == {"erased": 1}
    assert alias not in contents(lake)
    assert gone not in contents(lake)
    tinyfin(f"fleet labels {lake.path} {lake.path.parent / 'labels.csv'}")
    assert alias not in contents(lake)


def test_an_erasure_that_forgets_the_files_is_noticed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyfin.fleet.upkeep._purge", lambda *_: None)
    erase(lake, terminal=bench.terminal(1))
    assert bench.terminal(1) in contents(lake)


@pytest.mark.parametrize("by", ["--token", "--card-alias"])
def test_a_card_is_erased(lake: Lake, by: str) -> None:
    alias = lake.key.card(bench.TOKEN)
    assert alias.encode() in contents(lake)
    named = f"{bench.TOKEN:016x}" if by == "--token" else alias
    assert tinyfin_json(f"fleet erase {lake.path} {by} {named}") == {"rows": 1}
    assert alias.encode() not in contents(lake)
    said = tinyfin_json(f"fleet labels {lake.path} {lake.path.parent / 'labels.csv'}")
    assert said == {"labels": 12, "left_out": 1}
    assert alias.encode() not in contents(lake)


@pytest.mark.parametrize("which", ["--terminal-alias", "--card-alias"])
def test_what_is_no_alias_is_not_erased(lake: Lake, which: str) -> None:
    before = bench.lake_bytes(lake)
    assert "is no alias" in tinyfin(f"fleet erase {lake.path} {which} zz", code=3).output
    assert bench.lake_bytes(lake) == before


def test_old_days_go_and_stay_away(lake: Lake) -> None:
    reports = bench.fleet(3, 3)
    retain(lake, bench.FIRST_DAY + 2)
    rows = {name: part.rows for name, part in lake.manifest().parts.items()}
    assert rows
    assert {name.split("/")[1] for name in rows} == {"2026-07-25"}
    assert len(list((lake.path / "processed").iterdir())) == 3
    retain(lake, bench.FIRST_DAY)
    assert lake.settings.first_day == bench.FIRST_DAY + 2, "it does not fall"
    assert bench.take(lake, *reports).refused == {"old": 6}
    last = tinyfin_json(f"fleet retain {lake.path} --keep-days 1 --as-of 2026-08-01")
    assert last == {"first_day": "2026-08-01", "rows": 3}


# ------------------------------------------------------------------- tables for others


def attack(table: dict[Key, Cell], shown: set[Key]) -> dict[Key, Fraction]:
    """Hidden cells that totals give away: Gauss's elimination over fractions."""
    rows = sorted({r for r, _ in table if r != TOTAL})
    columns = sorted({c for _, c in table if c != TOTAL})
    hidden = sorted(set(table) - shown)
    lines = [([(r, TOTAL) for r in rows], (TOTAL, TOTAL))]
    lines += [([(TOTAL, c) for c in columns], (TOTAL, TOTAL))]
    lines += [([(r, c) for c in columns if (r, c) in table], (r, TOTAL)) for r in rows]
    lines += [([(r, c) for r in rows if (r, c) in table], (TOTAL, c)) for c in columns]
    system = []
    for cells, total in lines:
        row = [Fraction((key in cells) - (key == total)) for key in hidden]
        known = sum(table[key].sums["scored"] for key in cells if key in shown)
        right = (table[total].sums["scored"] if total in shown else 0) - known
        system.append([*row, Fraction(right)])
    at = 0
    for column in range(len(hidden)):
        pivot = next((i for i in range(at, len(system)) if system[i][column]), None)
        if pivot is None:
            continue
        system[at], system[pivot] = system[pivot], system[at]
        system[at] = [x / system[at][column] for x in system[at]]
        for i, row in enumerate(system):
            if i != at and row[column]:
                system[i] = [x - row[column] * y for x, y in zip(row, system[at], strict=True)]
        at += 1
    found = {}
    for row in system:
        named = [i for i, x in enumerate(row[:-1]) if x]
        if len(named) == 1:
            found[hidden[named[0]]] = row[-1]
    return found


def small_sums(table: dict[Key, Cell], shown: set[Key]) -> list[list[Key]]:
    """Lines of which a total less what is shown is of too few."""
    found = []
    for line in range(2):
        for name in {key[line] for key in table}:
            keys = [k for k in table if k[line] == name and k[1 - line] != TOTAL]
            total = (name, TOTAL) if line == 0 else (TOTAL, name)
            out, rest = [k for k in keys if k not in shown], Cell()
            for key in out:
                rest.add(table[key])
            if out and total in shown and rest.is_small:
                found.append(out)
    return found


def with_totals(cells: dict[Key, Cell]) -> dict[Key, Cell]:
    """The cells, and those of the totals of rows, columns and all."""
    table = dict(cells)
    for (row, column), cell in cells.items():
        for key in ((row, TOTAL), (TOTAL, column), (TOTAL, TOTAL)):
            table.setdefault(key, Cell()).add(cell)
    return table


cell_sizes = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), min_size=12, max_size=12)


def table_of(sizes: list[tuple[int, int]]) -> dict[Key, Cell]:
    """Three days by four packs; terminals of a day are those of the others, too."""
    cells = {}
    for place, (terminals, scored) in enumerate(sizes):
        if terminals:
            cell = Cell(frozenset(f"{place % 4}-{n}" for n in range(terminals)))
            cell.sums["scored"] = scored
            cells[f"day{place // 4}", f"pack{place % 4}"] = cell
    return with_totals(cells)


@settings(deadline=None, max_examples=300)
@given(cell_sizes)
def test_nobody_computes_what_is_left_out(sizes: list[tuple[int, int]]) -> None:
    table = table_of(sizes)
    shown = set(table) - suppressed(table)
    known = shown | set(attack(table, shown))  # some that are large enough may be left out in vain
    assert not any(table[key].is_small for key in known)
    assert small_sums(table, known) == []


def test_without_the_second_step_the_attack_succeeds() -> None:
    draw = random.Random(4)
    tables = [
        table_of([(draw.randrange(10), draw.randrange(60)) for _ in range(12)]) for _ in range(40)
    ]
    won = 0
    for table in tables:
        shown = {key for key, cell in table.items() if not cell.is_small}
        won += any(table[key].is_small for key in attack(table, shown))
    assert won > 10


def test_the_days_of_every_table_are_the_same() -> None:
    """Else the difference of two tables would say what each of them leaves out."""
    draw = random.Random(5)
    for _ in range(40):
        sizes = [(draw.randrange(10), draw.randrange(60)) for _ in range(12)]
        table = table_of(sizes)
        one: dict[Key, Cell] = {}
        for (row, column), cell in table.items():
            if TOTAL not in (row, column):
                one.setdefault((row, "all"), Cell()).add(cell)
        other = with_totals(one)
        days = {row for row, _ in table}
        assert {(r, TOTAL) in suppressed(table) for r in days} == {
            (r, TOTAL) in suppressed(other) for r in days
        }


def test_the_verb_leaves_cells_out(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *bench.fleet(8, 2))
    rows = tinyfin_json(f"fleet publish {lake.path} --by reason")["rows"]
    assert {row["terminals"] for row in rows} == {8}
    few = bench.new_lake(tmp_path / "few")
    bench.take(few, *bench.fleet(4, 2))
    for by in publish.BY:
        rows = tinyfin_json(f"fleet publish {few.path} --by {by}")["rows"]
        assert all(row["scored"] is None and row["terminals"] is None for row in rows)
