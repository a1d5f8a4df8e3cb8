# SPDX-License-Identifier: Apache-2.0
"""Reading: the usual forms of times, amounts, ids, codes, and several files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from tinyfin import simulator
from tinyfin.config import Config, from_table, load
from tinyfin.data.readers import read, read_chunks, survey
from tinyfin.data.tokens import token_of
from tinyfin.data.transactions import EPOCH_UNIX_S, NO_RESULT, RESULTS, format_time
from tinyfin.errors import ConfigError, DataError

Write = Callable[..., Path]

NOON = 18 * 365 * 86400 + 5 * 86400 + 12 * 3600  # 2018-01-01T12:00:00, five leap days on


@pytest.mark.parametrize(
    ("cell", "how"),
    [
        ("2018-01-01T12:00:00", {}),
        ("2018-01-01 12:00", {}),
        ("2018-01-01T12:00:00.999", {}),
        ("2018-01-01T12:00:00Z", {"format": "iso"}),
        ("1514808000", {}),
        ("1514808000123", {}),
        ("1514808000000", {"format": "milliseconds"}),
        ("43200", {"epoch": "2018-01-01"}),
        ("43200.75", {"format": "seconds", "epoch": "2018-01-01"}),
        ("43200500", {"format": "milliseconds", "epoch": "2018-01-01"}),
    ],
)
def test_times(csv: Write, cell: str, how: dict[str, str]) -> None:
    config = from_table({"data": {"time": {"column": "t", **how}}})
    tx = read(csv("t,x", f"{cell},1"), config)
    assert tx.t_mono_s.tolist() == [NOON]
    assert tx.t_local_s.tolist() == [NOON]
    assert format_time(NOON) == "2018-01-01T12:00:00"


def test_an_offset_gives_utc_and_wall_clock(csv: Write) -> None:
    tx = read(
        csv("t,x", "2018-01-01T14:00:00+02:00,1", "2018-01-01T06:30:00-0530,1"),
        from_table({"data": {"time": "t"}}),
    )
    assert tx.t_mono_s.tolist() == [NOON, NOON]
    assert tx.t_local_s.tolist() == [NOON + 7200, NOON - 19800]


def test_utc_offset_and_local_clock(csv: Write) -> None:
    shifted = from_table({"data": {"time": {"column": "t", "utc_offset": "1h"}}})
    tx = read(csv("t,c", "1514808000,2018-01-01T09:00:00"), shifted)
    assert (tx.t_mono_s[0], tx.t_local_s[0]) == (NOON, NOON + 3600)
    clock = from_table({"data": {"time": "t", "local_time": "c"}})
    tx = read(csv("t,c", "1514808000,2018-01-01T09:00:00"), clock)
    assert (tx.t_mono_s[0], tx.t_local_s[0]) == (NOON, NOON - 3 * 3600)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrow_times(parquet: Write, unit: str) -> None:
    column = pa.array([dt.datetime(2018, 1, 1, 12)], pa.timestamp(unit))
    assert read(parquet({"time": column}), load()).t_mono_s.tolist() == [NOON]


@pytest.mark.parametrize(
    ("cells", "how"),
    [
        (["accept", "go_online", "decline", ""], {}),
        (["0", "1", "2", ""], {}),
        (["ok", "host", "no", ""], {"values": {"ok": "accept", "host": 1, "*": "decline"}}),
    ],
)
def test_actions(csv: Write, cells: list[str], how: dict[str, object]) -> None:
    config = from_table({"data": {"time": "time", "action": {"column": "done", **how}}})
    tx = read(csv("time,done", *(f"1514808000,{cell}" for cell in cells)), config)
    assert tx.action.tolist() == [0, 1, 2, 0]
    assert tx.action.dtype == np.uint8


def test_a_terminal_that_verified_went_online(csv: Write) -> None:
    """Features were trained on three actions, and an engine refuses a fourth one."""
    how = {"values": {"pin asked": "verify", "*": "accept"}}
    config = from_table({"data": {"time": "time", "action": {"column": "done", **how}}})
    rows = ("1514808000,pin asked", "1514808001,ok")
    assert read(csv("time,done", *rows), config).action.tolist() == [1, 0]
    plain = read(csv("time,action", "1514808000,verify", "1514808001,go_online"), load())
    assert plain.action.tolist() == [1, 1]


def test_numbers_of_actions_in_parquet(parquet: Write) -> None:
    column = pa.array([2.0, None, 1.0])
    tx = read(parquet({"time": [1514808000] * 3, "action": column}), load())
    assert tx.action.tolist() == [2, 0, 1]


def test_a_file_of_acceptances_is_a_file_without_actions(csv: Write) -> None:
    """As fingerprints see it: neither says anything of a terminal that did something else."""
    rows = ("1514808000,4", "1514808001,5")
    bare = read(csv("time,amount_minor", *rows), load())
    told = [
        read(csv("time,amount_minor,action", *(f"{row},{done}" for row in rows)), load())
        for done in ("accept", "decline")
    ]
    assert bare.action.tolist() == [0, 0]
    assert bare.fingerprint() == told[0].fingerprint() != told[1].fingerprint()


def test_native_names_and_absent_columns(csv: Write) -> None:
    tx = read(csv("time,amount_minor,entry_mode", "1514808000,1234,chip", "1514808001,,"), load())
    assert tx.column("amount_minor").tolist() == [1234, 0]
    assert tx.has("amount_minor").tolist() == [True, False]
    assert tx.column("entry_mode").tolist() == [1, -1]
    assert not tx.has("mcc").any()
    assert tx.column("atc").tolist() == [-1, -1]
    assert tx.values.flags.c_contiguous
    assert (tx.terminals, tx.id.tolist(), tx.row.tolist()) == (("0",), [1, 2], [0, 1])
    assert tx.scenario is None


def test_without_outcomes_everything_is_approved_at_once(csv: Write) -> None:
    tx = read(csv("time", "1514808000"), load())
    assert RESULTS[tx.result[0]] == "approved"
    assert tx.outcome_t_mono_s.tolist() == [NOON]
    assert tx.response.tolist() == [-1]
    assert tx.label.tolist() == [-1]


def test_results_and_responses(csv: Write) -> None:
    lines = ["time,result,response,outcome_time"]
    lines += ["1514808000,approved,00,1514808002", "1514808000,timed_out,,", "1514808000,,,"]
    tx = read(csv(*lines), load())
    assert tx.result.tolist() == [0, 3, NO_RESULT]
    assert tx.response.tolist() == [0, -1, -1]
    assert tx.outcome_t_mono_s.tolist() == [NOON + 2, NOON, NOON]


def test_responses_alone_give_results(csv: Write) -> None:
    tx = read(csv("time,response", "1514808000,00", "1514808000,51", "1514808000,10"), load())
    assert tx.result.tolist() == [0, 1, 0]


def test_values_translate(csv: Write) -> None:
    table = {
        "time": "time",
        "entry_mode": {"column": "pos", "values": {"05": "chip", "07": "contactless_chip"}},
        "result": {"column": "r", "values": {"A": "approved", "*": "declined"}},
        "label": {"column": "f", "values": {"yes": 1, "no": 0}},
        "currency": {"column": "cur", "values": {"EUR": 978}},
        "mcc": {"constant": 5411},
    }
    lines = ["time,pos,r,f,cur", "1514808000,05,A,yes,EUR", "1514808000,07,X,no,EUR"]
    tx = read(csv(*lines), from_table({"data": table}))
    assert tx.column("entry_mode").tolist() == [1, 0]
    assert tx.result.tolist() == [0, 1]
    assert tx.label.tolist() == [1, 0]
    assert tx.column("currency").tolist() == [978, 978]
    assert tx.column("mcc").tolist() == [5411, 5411]


def test_an_empty_key_stands_for_every_kind_of_no_value(csv: Write, parquet: Write) -> None:
    def mapping(**values: dict[str, object]) -> Config:
        named = {"l": "label", "r": "response", "m": "entry_mode", "c": "mcc", "s": "scenario"}
        columns = {
            name: {"column": key, "values": values.get(key, {})} for key, name in named.items()
        }
        return from_table({"data": {"time": "time", **columns}})

    config = mapping(
        l={"": 0},
        r={"": 0, "*": 96},
        m={"": "chip", "S": "stripe"},
        c={"": 7, "x": 8},
        s={"": "calm"},
    )
    empty = csv("time,l,r,m,c,s", "1514808000,,NULL,nan,NA,", "1514808001,1,5,S,x,storm")
    typed = parquet(
        {
            "time": [1514808000, 1514808001],
            "l": [None, 1],
            "r": [None, 5.0],
            "m": [None, "S"],
            "c": pa.array([None, "x"]).dictionary_encode(),
            "s": ["", "storm"],
        },
        "b.parquet",
    )
    for path in (empty, typed):
        tx = read(path, config)
        assert tx.label.tolist() == [0, 1]
        assert tx.response.tolist() == [0, 96]
        assert tx.column("entry_mode").tolist() == [1, 3]
        assert tx.column("mcc").tolist() == [7, 8]
        assert tx.has("mcc").all()
        assert tx.scenarios().tolist() == ["calm", "storm"]
    without = read(empty, mapping(m={"S": "stripe"}, c={"x": 8, "*": 9}, r={"*": 96}))
    assert without.label.tolist() == [-1, 1]
    assert without.response.tolist() == [-1, 96]
    assert without.has("mcc").tolist() == [False, True]


@pytest.mark.parametrize("word", ["NULL", "NA", ".", " nan "])
def test_a_key_that_never_arrives_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="no value, and never arrives"):
        from_table({"data": {"time": "t", "label": {"column": "l", "values": {word: 0}}}})


def test_labels_become_known_late(csv: Write) -> None:
    lines = ["time,label,label_time", "1514808000,1,", "1514808000,0,1514808060"]
    tx = read(csv(*lines), from_table({"data": {"label_delay": "2d"}}))
    assert tx.label.tolist() == [1, 0]
    assert tx.label_known_s.tolist() == [NOON + 2 * 86400, NOON + 60]


def test_tokens_are_the_same_from_any_column(csv: Write, parquet: Write) -> None:
    config = from_table({"data": {"time": "time", "token": "card"}})
    text = read(csv("time,card", "1514808000,596"), config)
    whole = read(parquet({"time": [1514808000], "card": [596]}), config)
    floats = read(parquet({"time": [1514808000], "card": [596.0]}), config)
    expected = [token_of("596")]
    assert text.column("token").tolist() == expected
    assert whole.column("token").tolist() == expected
    assert floats.column("token").tolist() == expected
    assert text.column("token").dtype == np.uint64


def test_ready_tokens_pass_through_whole(csv: Write, parquet: Write) -> None:
    big = 2**64 - 3
    tx = read(csv("time,token", f"1514808000,{big}"), load())
    assert tx.column("token").tolist() == [big]
    column = pa.array([big], pa.uint64())
    assert read(parquet({"time": [1514808000], "token": column}), load()).column("token")[0] == big
    signed = pa.array([-3], pa.int64())
    tx = read(parquet({"time": [1514808000], "token": signed}), load())
    assert tx.column("token").tolist() == [2**64 - 3]


def test_several_files_in_order(csv: Write) -> None:
    one = csv("time,terminal,id", "1514808100,B,1", "1514808000,A,1", name="1.csv")
    two = csv("time,terminal,id", "1514808050,A,x-2", "1514808050,C,7", name="2.csv")
    tx = read([one, two], load())
    assert tx.terminals == ("B", "A", "C")
    assert tx.terminal.tolist() == [0, 1, 1, 2]
    assert tx.row.tolist() == [0, 1, 2, 3]
    assert tx.id.tolist()[::3] == [1, 7]


def test_semicolons_and_quoted_line_breaks(csv: Write) -> None:
    tx = read(csv("time;terminal", '1514808000;"shop', 'one"', "1514808000;b"), load())
    assert tx.terminals == ("shop\none", "b")


def test_csv_and_parquet_read_alike(town: pa.Table, tmp_path: Path) -> None:
    simulator.write(town, tmp_path / "a.parquet")
    simulator.write(town, tmp_path / "a.csv")
    first = read(tmp_path / "a.parquet", load())
    second = read(tmp_path / "a.csv", load())
    assert first.fingerprint() == second.fingerprint()
    assert len(first) == town.num_rows
    assert int(first.t_mono_s[0]) + EPOCH_UNIX_S == town["time"][0].value
    pacsv.write_csv(town.slice(0, 50), tmp_path / "b.csv")
    assert read(tmp_path / "b.csv", load()).fingerprint() != first.fingerprint()


def test_take_keeps_the_rest_together(town: pa.Table, tmp_path: Path) -> None:
    simulator.write(town, tmp_path / "a.parquet")
    tx = read(tmp_path / "a.parquet", load())
    fraud = tx.take(tx.label == 1)
    assert len(fraud) == int((tx.label == 1).sum())
    assert set(fraud.scenarios()) <= set(tx.scenario or ())
    assert "genuine" not in set(fraud.scenarios())


def test_missing_columns_are_named(csv: Write) -> None:
    path = csv("time,TX_AMUONT", "1514808000,1")
    with pytest.raises(DataError, match=r"a\.csv: has no column 'TX_AMOUNT'.*'TX_AMUONT'"):
        read(path, from_table({"data": {"time": "time", "amount": "TX_AMOUNT"}}))
    with pytest.raises(DataError, match=r"time = \{column"):
        read(csv("amount_minor", "1"), load())


LATE = {
    "data": {
        "time": "time",
        "amount": "amount",
        "label": "fraud",
        "label_time": {"columns": ["day", "hour"], "pattern": "%Y-%m-%d %H:%M"},
        "scenario": "kind",
    }
}


def test_a_file_from_before_the_labels_is_one_without_labels(csv: Write) -> None:
    path, told = csv("time,amount", "1514808000,1", "1514808001,2"), list[str]()
    with pytest.raises(DataError, match=r"no column 'fraud', wanted for data\.label; "):
        read(path, from_table(LATE))
    with pytest.raises(DataError, match="no column 'fraud'"):
        survey([path], from_table(LATE))
    tx = read(path, from_table(LATE), labels=False, progress=told.append)
    assert tx.label.tolist() == [-1, -1]
    assert tx.scenario is None
    assert told == [f"{path}: 2 rows; no column 'fraud', so none of them has a label"]
    found = survey([path], from_table(LATE), labels=False, progress=told.append)
    assert told[1] == told[0]
    (chunk,) = read_chunks([path], from_table(LATE), found)
    assert chunk.fingerprint() == tx.fingerprint()


def test_a_file_with_labels_keeps_them_and_needs_all_that_comes_with_them(csv: Write) -> None:
    settings = from_table({"data": {k: LATE["data"][k] for k in ("time", "amount", "label")}})
    path = csv("time,amount,fraud", "1514808000,1,1", "1514808001,2,0")
    assert read(path, settings, labels=False).label.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"no column 'day', wanted for data\.label_time"):
        read(path, from_table(LATE), labels=False)


def test_unusable_files(csv: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: there is no such file"):
        read(tmp_path / "none.csv", load())
    with pytest.raises(DataError, match="neither CSV nor Parquet"):
        read(csv("time", "1", name="a.xlsx"), load())
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(csv("time", "1", name="a.parquet"), load())
    with pytest.raises(DataError, match="holds no rows"):
        read(csv("time"), load())
    with pytest.raises(DataError, match="no transactions file"):
        read([], load())


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 100])
def test_an_id_is_found_again_in_whatever_chunk_it_lies(tmp_path: Path, chunk_rows: int) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    head = "time,id,terminal,amount_minor\n"
    first.write_text(head + "2024-01-01,1,x,1\n2024-01-02,2,x,2\n2024-01-03,1,y,x\n")
    second.write_text(head + "2024-01-04,1,y,4\n2024-01-05,1,x,5\n2024-01-06,1,y,6\n")
    paths, config = [first, second], load(None)
    with pytest.raises(DataError) as whole:
        read(paths, config)
    assert "b.csv, row 2 (line 3), column id" in str(whole.value)
    assert "must be unique per terminal" in str(whole.value)
    with pytest.raises(DataError) as chunks:
        survey(paths, config, chunk_rows=chunk_rows)
    assert str(chunks.value) == str(whole.value)
    asides = [tmp_path / "whole.csv", tmp_path / "chunks.csv"]
    tx = read(paths, config, skip_bad_rows=asides[0])
    found = survey(paths, config, skip_bad_rows=asides[1], chunk_rows=chunk_rows)
    assert asides[0].read_bytes() == asides[1].read_bytes()
    got = list(read_chunks(paths, config, found, chunk_rows=chunk_rows))
    assert np.concatenate([part.row for part in got]).tolist() == tx.row.tolist() == [0, 1, 3]
