# SPDX-License-Identifier: Apache-2.0
"""Whatever is in a file, a verb reads it or says what is wrong with it: never a traceback."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.cli import tinyfin
from tests.support.process import call
from tests.support.run_json import RUN
from tinyfin.config import from_table, load
from tinyfin.config.sections import Sections
from tinyfin.data.cards import is_luhn
from tinyfin.data.containers import CSV
from tinyfin.data.readers import read, read_chunks, survey
from tinyfin.errors import ConfigError, TinyfinError
from tinyfin.schema import PAYMENT
from tinyfin.text import printable

ROOT = Path(__file__).parents[2]
PACK = ROOT / "models" / "payment" / "model.tfpack"
CONFIG = """[data]
time = "t"
terminal = "sh\u00f6p"
token = "card"
amount = {column = "amt", unit = "major"}
label = "fraud"
"""
PAN = "4111111111111111"
HEAD, ROW = "t,sh\u00f6p,card,amt,fraud\n", "2024-07-01,s,c1,1.00,0\n"


def _table(**columns: Any) -> pa.Table:
    plain = {"t": ["2024-07-01"], "sh\u00f6p": ["s"], "card": ["c"], "amt": [1.0], "fraud": [0]}
    return pa.table({**plain, **columns})


HOSTILE: dict[str, tuple[str, bytes | pa.Table, str]] = {
    "header in cp1252": ("a.csv", (HEAD + ROW).encode("cp1252"), "cp1252"),
    "text in cp1252": ("a.csv", (HEAD + ROW).encode() + b"2024-07-01,\xe9,c,1,0\n", "line 3"),
    "ragged and not UTF-8": ("a.csv", (HEAD + ROW).encode() + b"\xe9,\xff\n", "line 3"),
    "half of UTF-16": ("a.csv", (HEAD + ROW).encode("utf-16")[:-1], "UTF-16"),
    "compressed, cut": ("a.csv.gz", b"\x1f\x8b\x08\x00" + bytes(30), "cannot be read"),
    "zeros": ("a.csv", bytes(4096), "column"),
    "noise": ("a.csv", random.Random(1).randbytes(4096), "UTF-8"),
    "noise as Parquet": ("a.parquet", b"PAR1" + random.Random(1).randbytes(999), "Parquet"),
    "noise as Arrow": ("a.arrow", b"ARROW1\0\0" + random.Random(1).randbytes(999), "Arrow"),
    "noise as a stream": ("a.arrows", b"\xff" * 4 + random.Random(1).randbytes(999), "Arrow"),
    "empty": ("a.csv", b"", "empty"),
    "a column twice": ("a.csv", ("t," + HEAD + "1," + ROW).encode(), "are both named 't'"),
    "no header": ("a.csv", ROW.replace("c1", PAN).encode() * 2, "first line seems to be data"),
    "bars": ("a.csv", (HEAD + ROW).replace(",", "^").encode(), 'delimiter = "^"'),
    "card numbers": ("a.csv", (HEAD + ROW.replace("c1", PAN + ".0")).encode(), "column card"),
    "marks": ("a.csv", (HEAD + ROW.replace("1.00", '"1,500"')).encode(), "column amt"),
    "a quotation mark": ("a.csv", (HEAD + ROW + '"' + "x,\n" * 10**6).encode(), "quotation"),
    "struct": ("a.parquet", _table(card=[{"a": 1}]), "column card: holds values of the type"),
    "list": ("a.parquet", _table(amt=[[1.5]]), "column amt: holds values of the type"),
    "bytes": ("a.parquet", _table(t=[b"\xff\xfe"]), "column t, value"),
    "a map": (
        "a.parquet",
        _table(fraud=pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))),
        "column fraud: holds",
    ),
    "a span of time": ("a.parquet", _table(t=[dt.timedelta(1)]), "column t: holds"),
    "a zone": ("a.parquet", _table(t=pa.array([0], pa.timestamp("s", "No/Where"))), "column t:"),
    "half floats": ("a.parquet", _table(amt=np.array([1.5], np.float16)), "column amt: holds"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that holds what verbs read before the data."""
    folder = tmp_path_factory.mktemp("runs") / "payment"
    folder.mkdir()
    shutil.copy(PACK, folder)
    (folder / "run.json").write_text(json.dumps(RUN))
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    return folder


def verbs(run: Path, file: Path, out: Path) -> dict[str, list[str]]:
    config = ["--config", str(run / "config.toml")]
    data, target = str(file), ["--out", str(out / "o.parquet")]
    return {
        "features": ["features", data, *config, *target],
        "host-fields": ["host-fields", data, *config, *target],
        "train": ["train", data, *config, "--name", "x", "--out", str(out / "runs")],
        "score": ["score", str(run), data, *target],
        "score --warmup": ["score", str(run), data, "--warmup", data, *target],
        "replay": ["replay", str(run), data, "--port", "exec:/bin/false"],
        "compare": ["compare", str(run), str(run), data],
        "state export": ["state", "export", str(run), data, "--terminal", "s", *target],
        "evaluate": ["evaluate", str(run), data],
        "demo": ["demo", "--data", data, *config, "--out", str(out / "demo")],
        "budget": ["budget", str(PACK), "--data", data, *config, "--target", "cortex-m4"],
    }


VERBS = tuple(verbs(Path(), Path(), Path()))


def refused(words: list[str]) -> str:
    """What a verb says; it ends with 3, and not by an exception of another kind."""
    answer = tinyfin(*words, code=3)
    assert "Traceback" not in answer.output
    assert PAN[:9] not in answer.output
    return answer.output


def write(path: Path, content: bytes | pa.Table) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    return path


@pytest.mark.parametrize("kind", HOSTILE)
def test_every_hostile_file_is_refused_by_name(kind: str, run: Path, tmp_path: Path) -> None:
    name, content, told = HOSTILE[kind]
    path = write(tmp_path / name, content)
    text = refused(verbs(run, path, tmp_path)["features"])
    assert str(path) in text
    assert told in text
    with pytest.raises(TinyfinError) as caught:
        read(path, load(run / "config.toml"))
    assert printable(str(caught.value)) in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_them(verb: str, run: Path, tmp_path: Path) -> None:
    if verb in ("train", "demo"):
        pytest.importorskip("tensorflow")
    for kind in ("header in cp1252", "card numbers", "struct", "bytes", "noise"):
        name, content, told = HOSTILE[kind]
        path = write(tmp_path / name, content)
        text = refused(verbs(run, path, tmp_path)[verb])
        assert str(path) in text
        assert told in text


def test_a_damaged_run_is_named(run: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "run.json").write_text('{"data": ')
    data = write(tmp_path / "a.csv", (HEAD + ROW).encode())
    words = verbs(damaged, data, tmp_path)["score"]
    assert f"{damaged / 'run.json'}: is not JSON" in refused(words)


@pytest.mark.parametrize("verb", ["features", "score", "replay"])
def test_names_that_are_not_utf8_from_the_shell(verb: str, run: Path, tmp_path: Path) -> None:
    """Read, refused and shown; with --json, whose output stays JSON."""
    folder = os.fsencode(tmp_path)
    bad = Path(os.fsdecode(folder + b"/h\xe9.csv"))
    bad.write_bytes((HEAD + ROW.replace("1.00", "one")).encode())
    for more in ([], ["--json"]):
        words = [*verbs(run, bad, tmp_path)[verb], *more]
        start = sys.executable, "-c", "from tinyfin.cli import main; main()"
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = call(*start, *words, code=3, text=False, env=env)
        assert b"Traceback" not in done.stderr
        assert b"h\\udce9.csv, row 1 (line 2), column amt" in done.stderr
    good = Path(os.fsdecode(folder + b"/g\xe9.csv"))
    good.write_bytes((HEAD + ROW).encode())
    tinyfin(*verbs(run, good, tmp_path)["features"], "--json")


def said_by(attempt: Callable[[], object]) -> str:
    """The message of an error of our own; any other error passes through."""
    try:
        attempt()
    except TinyfinError as error:
        return str(error)
    return ""


VALUES: dict[str, Any] = {
    "null": pa.nulls(2),
    "bool": [True, None],
    "int8": pa.array([1, -1], pa.int8()),
    "uint64": pa.array([2**64 - 1, 0], pa.uint64()),
    "float": [float("inf"), float("nan")],
    "float32": pa.array([1e30, None], pa.float32()),
    "half": np.array([1, 2], np.float16),
    "decimal": [Decimal("1e-9"), Decimal("-1e20")],
    "decimal256": pa.array([Decimal(10**70), None], pa.decimal256(76, 2)),
    "date32": [dt.date(2024, 7, 1), None],
    "date64": pa.array([0, 10**12], pa.date64()),
    "time": [dt.time(12), None],
    "stamp": pa.array([-(2**62), 2**62], pa.timestamp("ns")),
    "stamp with a zone": pa.array([2**62, 0], pa.timestamp("us", "Asia/Tokyo")),
    "duration": [dt.timedelta(1), None],
    "month_day_nano": pa.array([(1, 1, 1), None], pa.month_day_nano_interval()),
    "text": ["", "\0\ud7ff\u202e"],
    "view": pa.array(["a", "b"], pa.string_view()),
    "bytes": [b"\xff", b""],
    "fixed": pa.array([b"ab", None], pa.binary(2)),
    "dictionary of numbers": pa.array([1.5, None]).dictionary_encode(),
    "run ends": pa.RunEndEncodedArray.from_arrays([2], ["a"]),
    "list": [[1], None],
    "view of lists": pa.array([[1], None], pa.list_view(pa.int8())),
    "fixed list": pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
    "struct": [{"a": 1}, None],
    "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
    "union": pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
    ),
    "uuid": pa.array([b"0" * 16, None], pa.uuid()),
    "json": pa.array(['{"a": 1}', None], pa.json_()),
}
NAMES = ["time", "local_time", "terminal", "id", "result", "response", "action", "outcome_time"]
NAMES += ["label", "label_time", "scenario", *PAYMENT.names]


@pytest.mark.parametrize("kind", VALUES)
def test_every_type_in_every_column(kind: str, tmp_path: Path) -> None:
    """Read, or refused by file and column."""
    table = pa.table({"t": [1719835200, 1719835201], "x": VALUES[kind], "y": ["a", "b"]})
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    for name in NAMES:
        for how in (
            {},
            {"columns": ["x", "y"]},
            {"hash": True},
            {"scale": 2.0},
            {"unit": "major", "negative": "refund"},
            {"values": {"a": 1}},
            {"unit": "token"},
            {"format": "days"},
            {"pattern": "%Y"},
        ):
            source = {} if "columns" in how else {"column": "x"}
            data = {"time": "t", name: {**source, **how}}
            try:
                config = from_table({"data": data})
            except ConfigError:
                continue
            said = said_by(lambda config=config: read(path, config))
            assert not said or ("a.arrow, " in said and "column x" in said)


ODD_NUMBERS = ["1.500,00", "1,5E+07", "-", "+", "(", "()", "E5", "-.", ".", "\u2212", "1e400"]
ODD_NUMBERS += ["9" * 30, "0x1", "\N{ARABIC-INDIC DIGIT ONE}"]
FIELDS = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.floats().map(str),
        st.integers().map(str),
        st.dates().map(str),
        st.datetimes(timezones=st.timezones() | st.none()).map(str),
        st.sampled_from(ODD_NUMBERS),
    ),
    min_size=3,
    max_size=3,
)


@settings(deadline=None)
@given(st.lists(FIELDS, min_size=1, max_size=4), st.sampled_from(NAMES), st.data())
def test_any_text_in_any_column(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], name: str, data: st.DataObject
) -> None:
    how = data.draw(
        st.sampled_from(
            [
                {},
                {"unit": "major", "decimal": ",", "strip": ".\u20ac"},
                {"scale": 0.5, "strip": "' "},
                {"hash": True},
                {"format": "days", "decimal": ","},
                {"format": "iso"},
            ]
        )
    )
    try:
        config = from_table({"data": {"time": "t", name: {"column": "x", **how}}})
    except ConfigError:
        return
    table = pa.table({"t": [row[0] for row in rows], "x": [row[1] for row in rows]})
    path = tmp_path_factory.mktemp("text") / "a.parquet"
    pq.write_table(table, path)
    whole = said_by(lambda: read(path, config))
    chunks = said_by(lambda: survey([path], config, chunk_rows=1))
    assert whole.partition("\n")[0] == chunks.partition("\n")[0]


@settings(deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(
        ["", "\xff\xfe", "t,x\n", "PAR1", "ARROW1\0\0", "\x1f\x8b\x08\0", "BZh9", "sep=;\n"]
    ),
    st.sampled_from([*CSV, ".parquet", ".feather"]),
)
@example(b"\xc2", "", ".csv")
@example(b"\xef\xbb\xbf", "", ".csv")
def test_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: str, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"a{suffix}"
    path.write_bytes(start.encode("latin-1") + content)
    config = from_table({"data": {"time": "t"}})
    said = said_by(lambda: list(read_chunks([path], config, survey([path], config))))
    assert not said or str(path) in said


def toml_values(keys: list[str]) -> st.SearchStrategy[Any]:
    """Values that a TOML file can hold; tables have some of the keys."""
    return st.recursive(
        st.one_of(
            st.integers(),
            st.floats(),
            st.text(max_size=8),
            st.booleans(),
            st.dates(),
            st.sampled_from(["t", "1d", "2024-01-01", 10**30, -1, "\0"]),
        ),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=3)
        ),
        max_leaves=6,
    )


SECTIONS = {
    name: sorted(field.annotation.model_fields) if field.annotation else []
    for name, field in Sections.model_fields.items()
    if name != "data"
}
SECTIONS["schema"] = ["extends", "fields", "name", "type", "values", "missing"]


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(SECTIONS)))
def test_any_value_in_any_section(data: st.DataObject, section: str) -> None:
    keys = [*SECTIONS[section], "x"]
    values = toml_values(keys)
    table = data.draw(values | st.dictionaries(st.sampled_from(keys), values, max_size=3))
    said_by(lambda: from_table({section: table}))


@pytest.mark.parametrize(
    "table",
    [
        {"schema": {"extends": {"name": 1}}},
        {"schema": {"extends": ["payment"]}},
        {"features": {"define": dt.date(2024, 1, 1), "x": {"op": "field"}}},
        {"data": {"label_delay": "9" * 5000 + "w"}},
    ],
)
def test_values_of_a_wrong_type_are_config_errors(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_table(table)


SOURCE_KEYS = ["column", "constant", "values", "columns", "one_hot", "scale", "epoch", "format"]
SOURCE_KEYS += ["pattern", "strip", "decimal", "unit", "exponent", "hash", "utc_offset", "zone"]
SOURCE_KEYS += ["empty", "negative", "x"]
OTHER_KEYS = ["amount", "label_delay", "notices", "plain", "encoding", "delimiter"]
OTHER_KEYS += ["token_key_file"]


@settings(deadline=None)
@given(toml_values(SOURCE_KEYS), st.sampled_from([*NAMES, *OTHER_KEYS]))
def test_any_value_in_the_configuration(
    tmp_path_factory: pytest.TempPathFactory, value: Any, key: str
) -> None:
    """A ConfigError, or a configuration that reads a file or names what it lacks."""
    path = tmp_path_factory.getbasetemp() / "one.csv"
    path.write_text("t\n2024-07-01\n")
    said_by(lambda: read(path, from_table({"data": {"time": "t", key: value}})))


def test_the_control_is_a_card_number() -> None:
    assert is_luhn(PAN)
