# SPDX-License-Identifier: Apache-2.0
"""Labels from files are those of columns, byte for byte, and nothing about them is guessed."""

from __future__ import annotations

import csv
import datetime as dt
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.transactions import transactions
from tinyfin.config import Config, Simulate, from_table
from tinyfin.data.events import NOTICE, OUTCOME, event_stream, noticed_labels
from tinyfin.data.label_join import LabelJoin
from tinyfin.data.readers import read, read_chunks, survey
from tinyfin.data.transactions import EPOCH_UNIX_S, Revised, Transactions, format_time
from tinyfin.errors import ConfigError, DataError
from tinyfin.features.compiler import compile_program
from tinyfin.oracle import OracleEngine
from tinyfin.pack.sections import encode_schema
from tinyfin.schema import PAYMENT
from tinyfin.simulator import simulate
from tinyfin.training.chunks import replay_chunks
from tinyfin.training.dataset import as_known, compute_features
from tinyfin.training.rules import known_fraud_run
from tinyfin.training.split import known_labels
from tinyfin.twin import FeatureTwin

DAY_S = 86_400
ONE_FOLDER = [HealthCheck.function_scoped_fixture]  # each example writes all of its files
PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
PROGRAM = compile_program(
    ["amt_log", "known_frauds_28d", "known_run", "card_known_frauds_28d"], PAYMENT, card_labels=4
)


def page_example(folder: Path) -> Config:
    """The example of docs/data.md, its files in ``folder``."""
    text = PAGE.partition("<!-- labels -->\n")[2].partition("<!-- /labels -->")[0]
    config = tomllib.loads("\n".join(re.findall(r"```toml\n(.*?)```", text, re.S)))
    tables = [config["labels"][name] for name in ("chargebacks", "issuer", "decisions")]
    names = ["tx.csv", *(table["file"] for table in tables)]
    contents = re.findall(r"```csv\n(.*?)```", text, re.S)
    for name, content, table in zip(names, contents, [{}, *tables], strict=True):
        (folder / name).write_text(content, encoding=table.get("encoding", "utf-8"))
    return from_table(config)


def test_the_example_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    config = page_example(tmp_path)
    tx = read("tx.csv", config, progress=said.append)
    assert tx.label.tolist() == [0, 0, 1, -1, -1]
    notes = tx.label_notes()
    assert {
        (int(tx.id[i]), int(label), format_time(known))
        for i, label, known in zip(notes.index, notes.label, notes.known_s, strict=True)
    } == {
        (1001, 0, "2024-05-09T09:15:00"),
        (1002, 1, "2024-05-20T10:00:00"),
        (1002, 0, "2024-07-01T00:00:00"),
        (1002, 0, "2024-05-09T09:20:10"),
        (1003, 0, "2024-05-09T11:00:00"),
        (1003, 1, "2024-05-22T00:00:00"),
    }
    heard = tx.label_notes(doubtful=True)
    assert sorted(tx.id[heard.index].tolist()) == [1001, *[1002] * 3, *[1003] * 2, 1004, 1005]
    june = int(notes.known_s.max()) - DAY_S
    assert known_labels(tx, june).tolist() == [0, 1, 1, -1, -1]
    assert "issuer.csv: 1 of 2 labels taken" in "\n".join(said)
    with open("labels_not_taken.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["row"], row["CARD"]) == ("issuer.csv", "2", "c-79")
    assert "2 transactions match" in row["reasons"]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Ten days of four terminals, in order of time, all cards of them known by an id."""
    found = simulate(Simulate(terminals=4, days=10, seed=5, attacks={"card_testing": 8.0}))
    found = found.drop_columns(["label", "scenario"])
    token = pa.array([f"card-{x}" for x in found["token"].to_pylist()])
    return found.set_column(found.schema.names.index("token"), "token", token)


def mapping(town: pa.Table, **more: object) -> dict[str, Any]:
    names = [name for name in town.column_names if name not in ("label", "label_time")]
    return {"data": {**{name: name for name in names}, "label_delay": "3d", **more}}


def text_time(seconds: np.ndarray) -> list[str]:
    return [format_time(int(x)).replace("T", " ") for x in seconds]


def written(path: Path, columns: dict[str, list[Any]], delimiter: str, encoding: str) -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def table(file: Path, keys: str, **more: object) -> dict[str, Any]:
    """A table of [labels], its ``keys`` written as NAME=VALUE."""
    return {"file": str(file), **dict(key.split("=") for key in keys.split()), **more}


def layouts(
    town: pa.Table, rows: np.ndarray, fraud: np.ndarray, known: np.ndarray, folder: Path
) -> dict[str, dict[str, Any]]:
    """Three files that say the same of ``rows``, and the tables of [labels] that read them."""
    part = town.take(pa.array(rows))
    amount = part["amount_minor"].to_pylist()
    t = part["time"].cast(pa.int64()).to_numpy() - EPOCH_UNIX_S
    terminal, card = part["terminal"].to_pylist(), part["token"].to_pylist()
    spelled = [f"{x // 100}.{x % 100:02d}" for x in amount]
    said = {"bad": fraud.tolist(), "on": text_time(known)}
    ids = {"tx": part["id"].to_pylist(), "at": terminal, **said}
    written(folder / "ids.csv", ids, ",", "utf-8")
    seconds = {"TID": terminal, "CARD": card, "AMT": spelled, "T": text_time(t + 50), **said}
    written(folder / "seconds.csv", seconds, "|", "utf-16")
    codes = {"Händler": terminal, "Karte": card, "Zeit": text_time(t), "Ab": said["on"]}
    codes["Betrag"] = [x.replace(".", ",") for x in spelled]
    codes["Status"] = [("frei", "Betrug")[x] for x in fraud]
    written(folder / "codes.csv", codes, ";", "cp1252")
    return {
        "by_id": table(folder / "ids.csv", "id=tx terminal=at label=bad label_time=on"),
        "by_time": table(
            folder / "seconds.csv",
            "terminal=TID token=CARD time=T tolerance=50s label=bad label_time=on",
            amount={"column": "AMT", "unit": "major"},
        ),
        "by_codes": table(
            folder / "codes.csv",
            "encoding=cp1252 terminal=Händler token=Karte time=Zeit tolerance=0s label_time=Ab",
            amount={"column": "Betrag", "unit": "major", "decimal": ","},
            label={"column": "Status", "values": {"Betrug": 1, "frei": 0}},
        ),
    }


@settings(max_examples=3, suppress_health_check=ONE_FOLDER)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.02, 0.3]))
def test_files_and_columns_give_the_same_bytes(
    town: pa.Table, tmp_path: Path, seed: int, share: float
) -> None:
    """One of the three files at a time against the columns ``label`` and ``label_time``; of what
    no file names by then, both know that it is genuine, after the usual delay."""
    rng = np.random.default_rng(seed)
    t = town["time"].cast(pa.int64()).to_numpy() - EPOCH_UNIX_S
    columns = (town[x].to_pylist() for x in ("terminal", "token", "amount_minor"))
    alone = _alone([*zip(*columns, strict=True)], t.tolist())
    rows = np.sort(rng.permutation(np.flatnonzero(alone))[: int(share * len(t))])
    fraud = rng.integers(0, 2, len(rows))
    known = t[rows] + rng.integers(0, 9 * DAY_S, len(rows))
    label = np.zeros(len(t), np.int64)
    label[rows] = fraud
    label_time = t + 3 * DAY_S
    label_time[rows] = np.where(fraud == 1, known, np.minimum(known, label_time[rows]))
    columns = town.append_column("label", pa.array(label))
    columns = columns.append_column("label_time", pa.array(text_time(label_time)))
    pq.write_table(columns, tmp_path / "columns.parquet")
    pq.write_table(town, tmp_path / "bare.parquet")
    with_columns = mapping(town, label="label", label_time="label_time")
    late = rows[(known > t[rows] + 3 * DAY_S) & (fraud == 1)]
    assert len(late), "no fraud is known late: the test proves less"
    waiting = Revised(late, np.zeros(len(late), np.int8), (t[late] + 3 * DAY_S).astype(np.uint32))
    expected = replace(
        read(tmp_path / "columns.parquet", from_table(with_columns)), revised=waiting
    )
    features = compute_features(expected, from_table(with_columns), PROGRAM)
    assert np.ptp(features[:, 1:], axis=0).any(), "no label matters: the test proves nothing"
    labels = {"unlisted": "genuine", "not_taken": str(tmp_path / "not_taken.csv")}
    for name, spec in layouts(town, rows, fraud, known, tmp_path).items():
        config = from_table({**mapping(town), "labels": {**labels, "x": spec}})
        joined = read(tmp_path / "bare.parquet", config)
        assert joined.fingerprint() == expected.fingerprint(), name
        assert np.array_equal(compute_features(joined, config, PROGRAM), features), name
        found = survey([tmp_path / "bare.parquet"], config, chunk_rows=501)
        twin = FeatureTwin(encode_schema(PAYMENT), PROGRAM.payload, terminals=4)
        chunks = read_chunks([tmp_path / "bare.parquet"], config, found, chunk_rows=501)
        parts = [replay.features for _, replay in replay_chunks(chunks, twin, "both")]
        assert np.array_equal(np.concatenate(parts), features), name


@st.composite
def reports(draw: st.DrawFn) -> tuple[list[str], str, int]:
    """Rows of a file on 12 transactions, one an hour of one card, one more row, and the day on
    which that one became known. Some match several transactions, some contradict each other, some
    do not say when they were known, some are earlier than their transaction."""
    day = st.integers(0, 25)

    def row(known: int | None) -> str:
        amount = draw(st.integers(0, 9))  # 0 and 1 are amounts of two transactions each
        on = "" if known is None else format_time(DAY_S * (9000 + known)).replace("T", " ")
        return f"{amount}.00,a,2024-08-22,{draw(st.integers(0, 1))},{on}"

    known = draw(day)
    rows = draw(st.lists(day | st.none(), max_size=8))
    return [row(x) for x in rows], row(known), known


def features_with(folder: Path, rows: list[str]) -> np.ndarray:
    """Of 40 transactions, 12 on the first day, then one a day; the last of the first have labels
    of their own, one of them known late."""
    tx = ["id,time,terminal,card,amount,label,on"]
    for i in range(40):
        t = DAY_S * 9000 + (i * 3600 if i < 12 else (i - 11) * DAY_S)
        own = {10: "1,2024-09-05 00:00:00", 11: "0,"}.get(i, ",")
        tx.append(f"{i},{format_time(t)},T,{'a' if i < 12 else 'b'},{i % 10}.00,{own}")
    (folder / "tx.csv").write_text("\n".join(tx))
    (folder / "l.csv").write_text("\n".join(["AMT,CARD,DAY,BAD,ON", *rows]))
    data: dict[str, Any] = {name: name for name in ("id", "time", "terminal", "label")}
    amount = {"column": "amount", "unit": "major"}
    data |= {"token": "card", "amount": amount, "label_time": "on", "label_delay": "5d"}
    keys = "token=CARD time=DAY tolerance=day label=BAD label_time=ON"
    spec = table(folder / "l.csv", keys, amount={**amount, "column": "AMT"})
    labels = {"unlisted": "genuine", "not_taken": str(folder / "left.csv"), "x": spec}
    config = from_table({"data": data, "labels": labels})
    return compute_features(read(folder / "tx.csv", config), config, LISTED)


LISTED = compile_program(
    ["known_last", "known_labels_28d", "known_rate_28d", "known_frauds_28d"], PAYMENT
)


def _changed_too_early(folder: Path, drawn: tuple[list[str], str, int]) -> bool:
    rows, more, known = drawn
    before = max(0, min(known, 28))  # transaction 11 + n is that of day n
    some, all_ = (features_with(folder, x)[: 11 + before] for x in (rows, [*rows, more]))
    return not np.array_equal(some if known else some[:0], all_ if known else all_[:0])


@settings(max_examples=40, suppress_health_check=ONE_FOLDER)
@given(drawn=reports())
def test_what_is_reported_later_changes_no_feature_before(
    tmp_path: Path, drawn: tuple[list[str], str, int]
) -> None:
    assert not _changed_too_early(tmp_path, drawn)


@pytest.mark.parametrize("amount", ["5.00", "1.00"])
def test_a_notice_that_waits_for_what_comes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amount: str
) -> None:
    """The control: reports of one transaction, and of one of two, which keep what is unlisted from
    being genuine."""
    drawn = ([], f"{amount},a,2024-08-22,1,2024-09-12", 21)
    assert not _changed_too_early(tmp_path, drawn)

    def only_said(_: LabelJoin, said: np.ndarray, doubts: np.ndarray) -> tuple[np.ndarray, ...]:
        return said[0], said[2], said[3], np.ones(said.shape[1], np.bool_)

    monkeypatch.setattr(LabelJoin, "_as_heard", only_said)
    assert _changed_too_early(tmp_path, drawn)


def _alone(key: list[Any], t: list[int]) -> np.ndarray:
    """Rows whose key no other row has within a hundred seconds."""
    times: dict[Any, list[int]] = {}
    for k, s in zip(key, t, strict=True):
        times.setdefault(k, []).append(s)
    near = [sum(abs(s - x) <= 101 for x in times[k]) for k, s in zip(key, t, strict=True)]
    return np.array(near) == 1


def revised_town(seed: int = 3) -> Transactions:
    """Random transactions of two terminals; a third of the labels was another one before, and some
    of these yet another."""
    rng = np.random.default_rng(seed)
    n = 600
    t = np.sort(rng.integers(0, 40 * DAY_S, n)) + 10**8
    label = rng.integers(-1, 2, n)
    known = t + rng.integers(0, 20 * DAY_S, n)
    rows = np.flatnonzero((label >= 0) & (rng.random(n) < 0.3))
    twice = rows[::4]
    gap = (known - t)[rows]
    row = np.r_[rows, twice]
    first = np.r_[1 - label[rows], label[twice]]
    when = np.r_[t[rows] + gap // 2, t[twice] + gap[::4] // 4]
    order = np.lexsort((when, row))
    keep = gap[np.searchsorted(rows, row[order])] >= 4
    order = order[keep]
    fields = PAYMENT.index("token"), PAYMENT.index("amount_minor")
    values = np.zeros((n, len(PAYMENT.fields)), np.int64)
    values[:, fields[0]] = rng.integers(1, 20, n)
    values[:, fields[1]] = rng.integers(1, 9999, n)
    tx = transactions(
        t,
        values=values,
        present=np.full(n, sum(1 << i for i in fields)),
        label=label,
        label_known_s=known,
        terminal=rng.integers(0, 2, n),
        terminals=("0", "1"),
    )
    said = Revised(row[order], first[order].astype(np.int8), when[order].astype(np.uint32))
    return replace(tx, revised=said)


def sayings(tx: Transactions) -> list[tuple[int, int, int]]:
    """(when known, row, label), from the columns alone."""
    own = [
        (int(tx.label_known_s[i]), int(i), int(tx.label[i])) for i in np.flatnonzero(tx.label >= 0)
    ]
    said = tx.revised
    assert said is not None
    columns = (x.tolist() for x in (said.known_s, said.row, said.label))
    return sorted([*own, *zip(*columns, strict=True)])


def test_a_label_that_changes_is_two_notices_of_the_engine() -> None:
    """Each known at its own time, in the twin as in the oracle, which is notes them one by one."""
    tx = revised_town()
    stream = event_stream(tx)
    twin = FeatureTwin(encode_schema(PAYMENT), PROGRAM.payload, terminals=2)
    features = twin.run(tx, stream).features
    oracles = [OracleEngine(PROGRAM.payload, PAYMENT, restarts=True) for _ in range(2)]
    waiting = {(when, row): label for when, row, label in sayings(tx)}
    assert sum(kind > NOTICE for kind in stream.kind) > 50
    columns = (x.tolist() for x in (stream.kind, stream.index, stream.t_mono_s))
    for kind, row, now in zip(*columns, strict=True):
        oracle, id = oracles[tx.terminal[row]], int(tx.id[row])
        if kind >= NOTICE:
            token = int(tx.column("token")[row])
            oracle.notice(id, token, now, int(tx.t_mono_s[row]), waiting.pop((now, row)))
        elif kind == OUTCOME:
            oracle.outcome(id, now, int(tx.result[row]), -1, 0)
        else:
            values = [int(v) for v in tx.values[row]]
            oracle.score(id, now, int(tx.t_local_s[row]), values, int(tx.present[row]))
            assert oracle.features() == tuple(features[row].tolist()), row
    assert not waiting
    assert [twin.stats(i) for i in range(2)] == [oracle.stats() for oracle in oracles]
    plain = replace(tx, revised=None)
    other = FeatureTwin(encode_schema(PAYMENT), PROGRAM.payload, terminals=2)
    without = other.run(plain, event_stream(plain)).features
    assert not np.array_equal(without, features), "earlier labels do not matter: no control"


@pytest.mark.parametrize("days", [5, 15, 30, 90])
def test_the_label_as_known_at_a_date(days: int) -> None:
    tx = revised_town()
    until = int(tx.t_mono_s.min()) + days * DAY_S
    known: dict[int, tuple[int, int]] = {}
    for when, row, label in sayings(tx):
        if when <= until and tx.t_mono_s[row] < until:
            known[row] = (label, when)
    part = as_known(tx, until)
    assert [(int(part.label[i]), int(part.label_known_s[i])) for i in known] == [*known.values()]
    assert np.count_nonzero(part.label >= 0) == len(known)
    assert np.array_equal(known_labels(tx, until)[: len(part)], part.label)
    later = [x for x in sayings(part) if x[0] > until] if part.revised is not None else []
    assert not later
    # what is known by then is all that the engine hears by then
    both = [event_stream(x) for x in (tx.before(until), part)]
    heard = [
        [*zip(s.t_mono_s.tolist(), s.index.tolist(), strict=True)]
        for s in (x.part((x.kind >= NOTICE) & (x.t_mono_s <= until)) for x in both)
    ]
    assert heard[0] == heard[1]


def test_rules_and_taking_rows_follow_a_label_that_changes() -> None:
    tx = revised_town()
    run, _ = known_fraud_run(tx)
    for i in range(0, len(tx), 7):
        known: dict[tuple[int, int], int] = {}
        for when, row, label in sayings(tx):
            if when <= tx.t_mono_s[i] and tx.terminal[row] == tx.terminal[i] and row != i:
                known[int(tx.t_mono_s[row]), row] = label
        newest = [label for _, label in sorted(known.items(), reverse=True)]
        assert run[i] == [*newest, 0].index(0), i
    rows = np.random.default_rng(1).permutation(len(tx))[:200]
    mine = {(when, row, label) for when, row, label in sayings(tx) if row in set(rows.tolist())}
    notes = tx.take(rows).label_notes()
    found = zip(
        notes.known_s.tolist(), rows[notes.index].tolist(), notes.label.tolist(), strict=True
    )
    assert set(found) == mine
    label, first = noticed_labels(tx, "fraud_only")
    frauds = {row: when for when, row, kind in reversed(sayings(tx)) if kind == 1}
    assert {int(i): int(first[i]) for i in np.flatnonzero(label >= 0)} == frauds


def joined(
    folder: Path, lines: str, keys: str = "id=id", unlisted: str = "unknown", **more: object
) -> tuple[Transactions, list[str], list[dict[str, str]]]:
    """Five transactions, with one file of labels; what was said, and what was not taken."""
    (folder / "tx.csv").write_text(
        "id,time,card,label\n1,2024-05-01 10:00,a,\n2,2024-05-01 11:00,a,\n3,2024-05-02 10:00,b,0\n"
        "4,2024-05-03 10:00,c,\n5,2024-05-09 10:00,c,\n"
    )
    (folder / "l.csv").write_text(lines)
    left, said = folder / "left.csv", list[str]()
    spec = table(folder / "l.csv", f"label=bad label_time=on {keys}")
    data = {"id": "id", "time": "time", "token": "card", "label": "label"}
    labels = {"x": spec, "not_taken": str(left), "unlisted": unlisted}
    config = from_table({"data": data, "labels": labels})
    tx = read(folder / "tx.csv", config, progress=said.append, **more)
    found = list(csv.DictReader(left.open(newline=""))) if left.exists() else []
    return tx, said, found


def test_what_cannot_be_taken_is_counted_and_written_out(tmp_path: Path) -> None:
    tx, said, left = joined(
        tmp_path,
        "id,bad,on\n"
        "1,1,2024-05-20\n1,1,2024-05-21\n"  # the same once more
        "2,1,2024-05-20\n2,0,2024-05-20\n"  # one of them is wrong
        "98,1,2024-04-30\n"  # about what was before all of this
        "4,1,2024-05-02\n"  # before the transaction
        "5,,2024-05-30\n99,1,2024-05-20\n",
    )
    assert tx.label.tolist() == [1, -1, 0, -1, -1]
    line = said[-1]
    assert "2 of 8 labels taken, 1 of them said before" in line
    for text in ("1 about other times", "1 without a label", "1 match no transaction"):
        assert text in line
    assert "2 contradict others" in line
    assert "1 are known before" in line
    assert [row["row"] for row in left] == ["3", "4", "6", "8"]


def test_a_column_that_says_another_thing_is_followed_in_time(tmp_path: Path) -> None:
    tx, _, left = joined(tmp_path, "id,bad,on\n3,1,2024-05-30\n")
    assert (tx.label[2], known_labels(tx, int(tx.label_known_s[2]) - 1)[2]) == (1, 0)
    tx, said, left = joined(tmp_path, "id,bad,on\n3,1,2024-05-09 10:00\n")  # label_delay is 7 days
    assert tx.label[2] == -1
    assert "contradict" in said[-1]
    assert len(left) == 1


def test_a_card_of_two_transactions_is_not_guessed(tmp_path: Path) -> None:
    lines = "card,day,bad,on\na,2024-05-01,1,2024-05-20\nb,2024-05-02,1,2024-05-20\n"
    tx, _, _ = joined(tmp_path, lines, "token=card time=day tolerance=day", "genuine")
    assert tx.label.tolist() == [-1, -1, 1, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_the_day_of_a_moment_is_that_of_the_transactions_zone(tmp_path: Path, seed: int) -> None:
    """Against Python's own zones: times with an offset or a zone, dates in between, and all of a
    column in a named zone."""
    rng = np.random.default_rng(seed)
    shop, utc = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
    start = dt.datetime(2024, 3, 29, 12, tzinfo=utc)  # the clock changes on 31 March
    t = [start + dt.timedelta(hours=24 * i, minutes=int(rng.integers(720))) for i in range(5)]
    t += [x + dt.timedelta(hours=12) for x in t]
    lines = [f"{i},{x.astimezone(shop).isoformat()},T,{i % 5}" for i, x in enumerate(t)]
    (tmp_path / "tx.csv").write_text("\n".join(["id,time,terminal,card", *lines]))
    meant = [t[i] for i in rng.permutation(10)[:4]]
    offsets = [x.astimezone(ZoneInfo("Asia/Tokyo")).isoformat() for x in meant]
    named = [f"{x.astimezone(utc):%Y-%m-%d %H:%M:%S} UTC" for x in meant]
    dates = [f"{x.astimezone(shop):%Y-%m-%d}" for x in meant]
    walls = [f"{x.astimezone(ZoneInfo('America/Lima')):%Y-%m-%d %H:%M:%S}" for x in meant]
    mixed = [(offsets, named, dates)[k % 3][k] for k in range(4)]
    time = {"column": "T", "zone": "America/Lima"}
    right = {t.index(x) for x in meant}
    for texts_, how in ((offsets, "T"), (named, "T"), (dates, "T"), (mixed, "T"), (walls, time)):
        rows = [f"T,{t.index(x) % 5},{text}" for x, text in zip(meant, texts_, strict=True)]
        (tmp_path / "l.csv").write_text("\n".join(["AT,CARD,T", *rows]))
        keys = "terminal=AT token=CARD tolerance=day"
        spec = table(tmp_path / "l.csv", keys, time=how, label={"constant": 1})
        data = {x: x for x in ("id", "time", "terminal")} | {"token": "card"}
        labels = {"x": spec, "not_taken": str(tmp_path / "left.csv")}
        config = from_table({"data": data, "labels": labels})
        tx = read(tmp_path / "tx.csv", config)
        days = [x.astimezone(shop).date() for x in t]
        keys = [(day, i % 5) for i, day in enumerate(days)]
        twice = {i for i in right if keys.count(keys[i]) > 1}
        assert set(np.flatnonzero(tx.label == 1).tolist()) == right - twice, texts_


def test_card_numbers_and_bad_rows(tmp_path: Path) -> None:
    pans = ["4111111111111111", "5555555555554444", "4012888888881881"]
    lines = "id,bad,on\n" + "".join(f"{pan},1,2024-05-20\n" for pan in pans)
    with pytest.raises(DataError, match="holds card numbers"):
        joined(tmp_path, lines)
    lines = "id,bad,on,note\n1,perhaps,2024-05-20,x\n2,1,2024-05-20,x\n"
    with pytest.raises(DataError, match=r"\[labels\.x\]"):
        joined(tmp_path, lines)
    tx, said, left = joined(tmp_path, lines, skip_bad_rows=tmp_path / "bad.csv")
    assert tx.label[1] == 1
    assert "1 are incomplete" in said[-1]
    assert "perhaps" in left[0]["reasons"]
    hidden = (
        "id,bad,on\n" + "".join(f"{i},1,2024-05-20\n" for i in range(90, 99)) + f"{pans[0]},1,\n"
    )
    joined(tmp_path, hidden)
    assert pans[0] not in (tmp_path / "left.csv").read_text()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    config = {"labels": {"x": {"file": "gone.csv", "id": "id", "label": {"constant": 1}}}}
    (tmp_path / "tx.csv").write_text("time\n2024-05-01\n")
    with pytest.raises(DataError, match=r"gone\.csv: is not there, and labels\.x names it"):
        read(tmp_path / "tx.csv", from_table(config))
    said: list[str] = []
    assert len(read(tmp_path / "tx.csv", from_table(config), labels=False, progress=said.append))
    assert any("gone.csv: is not there" in line for line in said)


@pytest.mark.parametrize(
    ("labels", "notes"),
    [
        ({"x": {"file": "a"}}, "what do its rows say"),
        ({"x": {"file": "a", "label": {"constant": 1}}}, "find their transaction by id"),
        ({"x": {"file": "a", "id": "i", "label": "l", "time": "t"}}, "time and tolerance go"),
        ({"x": {"file": "a", "id": "i", "label": "l", "tolerance": "-2m"}}, 'is "day", or'),
        ({"x": {"file": "a", "idd": "i", "label": "l"}}, "did you mean 'id'"),
        ({"x": {"file": "a", "id": {"constant": 3}, "label": "l"}}, "name a column"),
        ({"x": {"file": "a", "id": {"column": "i", "scale": 2.0}, "label": "l"}}, "scale makes"),
        ({"unlisted": "genuine"}, "goes with files"),
        ({"not_taken": "x", "unlistd": "genuine"}, "did you mean 'unlisted'"),
    ],
)
def test_mistakes_in_the_section_are_named(labels: dict[str, Any], notes: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(notes)):
        from_table({"labels": labels})


def test_a_table_without_time_has_no_files_of_labels() -> None:
    spec = {"file": "a", "id": "i", "label": "l"}
    with pytest.raises(ConfigError, match=r"data\.label"):
        from_table({"data": {"plain": True}, "labels": {"x": spec}})
