# SPDX-License-Identifier: Apache-2.0
"""The star schema, against sums that a loop in Python makes of the same history."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import terminal_drift as drift_demo
from benchmarks.terminal_reports import Reading, reports
from tests.support import fleet as bench
from tests.support.cli import filled, tinyfin, tinyfin_json
from tests.support.run_json import RUN
from tinyfin.fleet.labels import add_labels
from tinyfin.fleet.lake import date_of
from tinyfin.fleet.views import VIEWS, connect, rows_of
from tinyfin.twin import Twin

TERMINALS, DAYS = 6, 12
NOTICES = "fraud_only"


def history(seed: int) -> tuple[list[Reading], Counter[tuple[str, int]], Counter[tuple[str, int]]]:
    """Readings, and events and restarts by terminal and day. Terminals with an odd number forget
    their state at a restart."""
    draw = random.Random(seed)
    readings: list[Reading] = []
    scored: Counter[tuple[str, int]] = Counter()
    restarts: Counter[tuple[str, int]] = Counter()
    for which in range(TERMINALS):
        name, boot, kept, number = bench.terminal(which).hex(), 10 * which, 0, 0
        for day in range(DAYS):
            if day == 0 or draw.random() < 0.6:
                boot, number = boot + 1, 0
                kept = kept if which % 2 == 0 else 0
                restarts[name, day] += 1
            events = draw.randrange(20, 80) if which % 2 == 0 else 80 - 6 * day
            kept, number = kept + events, number + 1
            scored[name, day] += events
            readings.append(bench.reading(which, day, kept, boot_nonce=boot, number=number))
    return readings, scored, restarts


def test_a_day_of_a_terminal(tmp_path: Path) -> None:
    """Counters are cumulative: of a terminal that keeps its state over restarts, too."""
    readings, scored, restarts = history(3)
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *bench.made(readings))
    names = {lake.key.terminal(bench.terminal(n)): bench.terminal(n).hex() for n in range(6)}
    days = {str(date_of(bench.FIRST_DAY + day)): day for day in range(DAYS)}
    with connect(lake) as base:
        rows = rows_of(base, "SELECT * FROM terminal_day")
        causes = rows_of(base, "SELECT sum(restarts) AS n FROM restart")[0]["n"]
    found = {(names[row["terminal"]], days[row["day"]]): row for row in rows}
    assert {key: row["scored"] for key, row in found.items()} == dict(scored)
    assert {k: row["restarts"] for k, row in found.items() if row["restarts"]} == dict(restarts)
    assert causes == restarts.total()


def test_every_view_answers_of_an_empty_lake(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    with connect(lake) as base:
        for view in VIEWS:
            assert rows_of(base, f"SELECT * FROM {view}") == [], view
    assert tinyfin_json(f"fleet status {lake.path}")["reports"] == 0
    assert "no rows" in tinyfin(f"fleet query {lake.path}", "SELECT * FROM pack").output
    said = tinyfin(f"fleet query {lake.path}", "SELECT nothing FROM report", code=3).output
    assert "the query failed" in said


def test_labels_join_and_mature(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *bench.fleet(3, 6))
    path = bench.label_file(tmp_path / "labels.csv", 40)
    for _ in range(2):
        assert add_labels(lake, [path]) == (40, 0)
    with connect(lake) as base:
        rows = rows_of(base, "SELECT * FROM notice_day ORDER BY day")
        labels = rows_of(base, "SELECT count(*) AS n, sum(fraud::INT) AS f FROM label_now")[0]
        joined = rows_of(
            base, "SELECT count(*) AS n FROM label_now JOIN terminal_day USING (terminal, day)"
        )[0]["n"]
    assert labels == {"n": 40, "f": 14}
    assert joined == 40
    assert [row["labels"] for row in rows] == [24, 16, None, None, None, None]
    assert rows[0]["delay_h_median"] == 25
    assert rows[0]["notice_share"] == pytest.approx(rows[0]["notices"] / rows[0]["scored"])
    assert [row["mature"] for row in rows] == [True] * 3 + [False] * 3
    status = tinyfin_json(f"fleet status {lake.path}")
    assert status["labels"] == 40
    assert status["label_delay_days"] == pytest.approx(25 / 24)
    assert status["immature_from"] == rows[3]["day"]


def test_a_clock_that_is_ahead_makes_nothing_mature(tmp_path: Path) -> None:
    """Nor is its day the last one of the lake."""
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *bench.fleet(3, 6))
    add_labels(lake, [bench.label_file(tmp_path / "labels.csv", 40)])
    before = tinyfin_json(f"fleet status {lake.path}")
    ahead = bench.reading(0, 36_524 - bench.FIRST_DAY, 9999, boot_nonce=7)  # a clock in 2100
    bench.take(lake, *bench.made([ahead]))
    after = tinyfin_json(f"fleet status {lake.path}")
    assert after["reports"] == before["reports"] + 1
    for name in ("last_day", "immature_from"):
        assert after[name] == before[name]


def test_a_label_that_is_taken_back(tmp_path: Path) -> None:
    """What became known last counts, in whichever order it comes."""
    at = bench.FIRST_DAY * bench.DAY_S
    head = "terminal,id,time,label,known"
    name = bench.terminal(0).hex()
    (tmp_path / "a.csv").write_text(f"{head}\n{name},7,{at},cleared,{at + 90_000}\n")
    (tmp_path / "b.csv").write_text(f"{head}\n{name},7,{at},fraud,{at + 9000}\n")
    found = []
    for order in ("ab", "ba"):
        lake = bench.new_lake(tmp_path / order)
        for one in order:
            add_labels(lake, [tmp_path / f"{one}.csv"])
        found.append(bench.lake_bytes(lake))
        with connect(lake) as base:
            assert rows_of(base, "SELECT fraud FROM label_now") == [{"fraud": False}]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("zz,7,1000,fraud,2000", "must be a terminal id"),
        ("{id},7,1000,maybe,2000", "must be fraud or cleared"),
        ("{id},7,1000,fraud,10", "is before the time of the transaction"),
        ("{id},,1000,fraud,2000", "is needed"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, row: str, said: str) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    path = tmp_path / "labels.csv"
    path.write_text("terminal,id,time,label,known\n" + row.format(id=bench.terminal(0).hex()))
    done = tinyfin(f"fleet labels {lake.path} {path}", code=3)
    assert said in done.output
    assert lake.manifest().parts == {}


CONFIG = """
[data]
id = "id"
time = {column = "time", format = "seconds", epoch = "2000-01-01"}
terminal = "terminal"
token = {column = "card", unit = "token"}
amount = "amount"
[labels]
unlisted = "genuine"
not_taken = "NOT_TAKEN"
[labels.issuer]
file = "ISSUER"
terminal = "TID"
amount = "AMT"
time = "DAY"
tolerance = "day"
label = {constant = 1}
label_time = "REPORTED"
"""


def test_labels_in_the_layouts_of_training(tmp_path: Path) -> None:
    """A file without ids finds its transactions as in training: the lake is that of a file with."""
    at = bench.FIRST_DAY * bench.DAY_S
    one, two = bench.terminal(0).hex(), bench.terminal(1).hex()
    rows = [(one, 7, at + 60, 100), (one, 8, at + 70, 250), (two, 9, at, 300), (two, 10, at, 300)]
    table = [f"{name},{id},{t},{minor},77" for name, id, t, minor in rows]
    (tmp_path / "tx.csv").write_text("terminal,id,time,amount,card\n" + "\n".join(table) + "\n")
    day, known = date_of(bench.FIRST_DAY), date_of(bench.FIRST_DAY + 5)
    (tmp_path / "issuer.csv").write_text(
        f"TID,AMT,DAY,REPORTED\n{one},250,{day},{known}\n{two},300,{day},{known}\n"
    )
    where = {"ISSUER": tmp_path / "issuer.csv", "NOT_TAKEN": tmp_path / "left.csv"}
    config = tmp_path / "tinyfin.toml"
    config.write_text(filled(CONFIG, **where))
    joined = bench.new_lake(tmp_path / "joined")
    done = tinyfin(f"fleet labels {joined.path} {tmp_path / 'tx.csv'} --config {config}")
    assert "1 of 2 labels taken" in done.output
    assert "1 match several" in done.output
    assert "2 transactions match" in (tmp_path / "left.csv").read_text()
    simple = bench.new_lake(tmp_path / "simple")
    (tmp_path / "simple.csv").write_text(
        f"terminal,id,time,label,known,token\n{one},8,{at + 70},fraud,{at + 5 * bench.DAY_S},77\n"
    )
    tinyfin(f"fleet labels {simple.path} {tmp_path / 'simple.csv'}")
    assert bench.lake_bytes(joined) == bench.lake_bytes(simple)
    config.write_text(filled(CONFIG, **where).replace('id = "id"', ""))
    said = tinyfin(f"fleet labels {joined.path} {tmp_path / 'tx.csv'} --config {config}", code=3)
    assert "names no id" in said.output


def test_histograms_have_the_names_of_their_pack(tmp_path: Path) -> None:
    """Counts of monitors, by the twin that scored the events, through the terminal's own code."""
    tx = drift_demo.town(1, 3, 40)
    pack = drift_demo.monitored_pack(tx)
    (tmp_path / "pack.tfpack").write_bytes(pack.data)
    twin = Twin(pack.data, terminals=3, monitor=True)
    twin.run(tx, drift_demo.event_stream(tx, "both"))
    readings = [bench.reading(n, 0, 50, monitor=bytes(twin.monitor(n))) for n in range(3)]
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *reports(tmp_path / "pack.tfpack", bench.FLEET, readings))
    facts = tinyfin_json(f"fleet pack {lake.path} {tmp_path / 'pack.tfpack'}")
    names = {h["name"]: h["bins"] for h in facts["histograms"]}
    assert facts["pack_id"] == pack.pack_id.hex()
    with connect(lake) as base:
        rows = rows_of(base, "SELECT * FROM histogram ORDER BY terminal, position")
    assert {row["histogram"] for row in rows} == set(names)
    assert len(rows) == 3 * sum(names.values())
    for n in range(3):
        alias = lake.key.terminal(bench.terminal(n))
        image = drift_demo.read_monitor(twin.monitor(n), pack.drift)
        expected = [int(x) for histogram in image.histograms for x in histogram]
        assert [row["count"] for row in rows if row["terminal"] == alias] == expected


def test_notices_against_those_of_training(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(bench.PACK, run / "model.tfpack")
    (run / "run.json").write_text(json.dumps({**RUN, "data": {**RUN["data"], "notices": NOTICES}}))
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *bench.made([bench.reading(0, 0, 50)]))
    add_labels(lake, [bench.label_file(tmp_path / "labels.csv", 20)])
    facts = tinyfin_json(f"fleet pack {lake.path} {run}")
    assert (facts["notice_share"], facts["label_delay_days"]) == (8 / 36, 7.0)
    status = tinyfin_json(f"fleet status {lake.path}")
    assert list(status["notice_share"].values()) == [{"came": 0.1, "training": 8 / 36}]
    assert list(status["notice_delay_days"].values()) == [{"came": 25 / 24, "training": 7.0}]
    table = tinyfin(f"fleet status {lake.path}").output
    assert "0.1; training: 0.2222" in table
    assert "1.042; training: 7\n" in table
