# SPDX-License-Identifier: Apache-2.0
"""The same transactions give the same features, byte for byte, from whatever holds them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyfin.config import from_table
from tinyfin.training.export_features import write_matrix

CONFIG = from_table(
    {
        "data": {
            "time": "when",
            "terminal": "shop",
            "token": "card",
            "mcc": "mcc",
            "label": "fraud",
            "amount": {"column": "amount", "unit": "major", "decimal": "."},
            "offline": {"column": "offline", "values": {"true": "yes", "false": "no"}},
        }
    }
)

rows = st.lists(
    st.tuples(
        st.integers(1_700_000_000, 1_800_000_000),  # when
        st.integers(0, 127),  # shop
        st.integers(0, 127) | st.integers(0, 2**24 - 1) | st.integers(0, 10**12 - 1),  # card
        st.integers(0, 99_99) | st.integers(0, 13_107_199) | st.integers(0, 10**11),  # amount
        st.sampled_from([0, 5411, 742, None]),  # mcc
        st.sampled_from([True, False, None]),  # fraud
        st.booleans(),  # offline
    ),
    min_size=1,
    max_size=6,
)

INTS: list[Any] = [
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint16(),
    pa.uint32(),
    pa.uint64(),
]
TEXTS: list[Any] = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.dictionary(pa.int32(), pa.string()),
]
DECIMALS: list[Any] = [
    pa.decimal32(9, 2),
    pa.decimal64(18, 4),
    pa.decimal128(38, 9),
    pa.decimal256(76, 20),
]
FLOATS: list[Any] = [pa.float32(), pa.float64()]
STAMPS: list[Any] = [
    pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "+00:00")
]


def typed(values: list[Any], kind: Any) -> pa.Array:
    """Whole numbers or decimals as an array of the type. Raises ArrowInvalid if they do not fit."""
    if kind in TEXTS:
        return pa.array([None if v is None else f"{v:f}" for v in values], pa.string()).cast(kind)
    if kind in DECIMALS:
        return pa.array(values, kind)
    if kind in FLOATS:
        # the float must stand for one number only
        bound = 131_072 if kind == pa.float32() else 2**53
        if any(v is not None and v >= bound for v in values):
            raise pa.ArrowInvalid("too coarse")
        return pa.array([None if v is None else float(v) for v in values], pa.float64()).cast(kind)
    if any(v is not None and v != int(v) for v in values):
        raise pa.ArrowInvalid("not whole")
    return pa.array([None if v is None else int(v) for v in values], kind)


def times(unix: list[int], how: str) -> pa.Array:
    stamps = pa.array(unix, pa.int64())
    if how in ("s", "ms", "us", "ns"):
        return pc.multiply(stamps, {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[how])
    if how == "float":
        return stamps.cast(pa.float64())
    if how == "decimal":
        return pa.array([Decimal(f"{t}.999999999") for t in unix], pa.decimal128(20, 9))
    text = stamps.cast(pa.timestamp("s")).cast(pa.string())
    return {
        "text": text,
        "text with zone": pc.binary_join_element_wise(text, pa.scalar("+00"), ""),
        "digits": pc.strftime(stamps.cast(pa.timestamp("s")), format="%Y%m%d%H%M%S"),
        "digits as a number": pc.strftime(
            stamps.cast(pa.timestamp("s")), format="%Y%m%d%H%M%S"
        ).cast(pa.int64()),
    }[how]


def parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def parquet_of_others(table: pa.Table, path: Path) -> None:
    """Without Arrow's own schema, in small pages, by another compression."""
    pq.write_table(
        table, path, store_schema=False, compression="gzip", row_group_size=2, use_dictionary=False
    )


def arrow_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def csv_text(table: pa.Table) -> bytes:
    text = pa.BufferOutputStream()
    plain = {
        name: column.combine_chunks().cast(pa.string())
        if not pa.types.is_decimal(column.type)
        else pa.array([None if v is None else f"{v:f}" for v in column.to_pylist()], pa.string())
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    pacsv.write_csv(pa.table(plain), text, pacsv.WriteOptions(quoting_style="needed"))
    return text.getvalue().to_pybytes()


CONTAINERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "a.csv": lambda table, path: path.write_bytes(csv_text(table)),
    "b.csv.gz": lambda table, path: path.write_bytes(gzip.compress(csv_text(table))),
    "c.tsv": lambda table, path: path.write_bytes(
        csv_text(table).decode().replace(",", "\t").encode("utf-16")
    ),
    "d.parquet": parquet,
    "e.parquet": parquet_of_others,
    "f.arrow": lambda table, path: feather.write_feather(table, str(path)),
    "g.arrows": arrow_stream,
    # by pandas
    "h.parquet": lambda table, path: table.to_pandas().to_parquet(path),
    "i.feather": lambda table, path: table.to_pandas().to_feather(path),
    "j.csv": lambda table, path: table.to_pandas().to_csv(path, index=False),
    "k.csv.bz2": lambda table, path: table.to_pandas().to_csv(path, sep=";"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("same")


def features(path: Path) -> bytes:
    out = path.with_name("features.parquet")
    write_matrix([path], CONFIG, out, with_label=True)
    return out.read_bytes()


@settings(max_examples=120, deadline=None)
@given(rows=rows, data=st.data())
def test_the_same_features_from_every_container(
    folder: Path, rows: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    when, shop, card, minor, mcc, fraud, offline = (list(x) for x in zip(*rows, strict=True))
    plain = "".join(
        f"{pa.scalar(w).cast(pa.timestamp('s'))},{s},{c},{Decimal(a).scaleb(-2)},"
        f"{'' if m is None else m},{'' if f is None else int(f)},{str(o).lower()}\n"
        for w, s, c, a, m, f, o in rows
    )
    reference = folder / "reference.csv"
    reference.write_text(f"when,shop,card,amount,mcc,fraud,offline\n{plain}")
    wanted = features(reference)

    def column(values: list[Any], kinds: list[Any]) -> pa.Array:
        kind = data.draw(st.sampled_from(kinds), label="type")
        try:
            return typed(values, kind)
        except (pa.ArrowInvalid, OverflowError):
            return typed(values, pa.string())

    how = data.draw(
        st.sampled_from(
            [
                *STAMPS,
                "s",
                "ms",
                "us",
                "ns",
                "float",
                "decimal",
                "text",
                "text with zone",
                "digits",
                "digits as a number",
            ]
        ),
        label="time",
    )
    ids = [*INTS, *FLOATS, *DECIMALS, *TEXTS]
    table = pa.table(
        {
            "when": times(when, how)
            if isinstance(how, str)
            else pa.array(when).cast(pa.timestamp("s", how.tz)).cast(how),
            "shop": column(shop, ids),
            "card": column(card, ids),
            "amount": column([Decimal(a).scaleb(-2) for a in minor], ids),
            "mcc": column(mcc, ids),
            "fraud": pa.array(fraud)
            if data.draw(st.booleans())
            else column([None if f is None else int(f) for f in fraud], ids),
            "offline": pa.array(offline),
        }
    )
    name = data.draw(st.sampled_from(sorted(CONTAINERS)), label="container")
    if "csv" in name or "tsv" in name:  # pandas writes bytes as Python does, b'c1'
        table = table.cast(
            pa.schema(
                [pa.field(f.name, pa.string() if f.type in TEXTS else f.type) for f in table.schema]
            )
        )
    path = folder / name
    path.unlink(missing_ok=True)
    CONTAINERS[name](table, path)
    assert features(path) == wanted
