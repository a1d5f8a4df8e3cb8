# SPDX-License-Identifier: Apache-2.0
"""Host context: derived causally, optional in an event, missed aloud."""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.oracle.twin_terminal import TwinTerminal
from tests.support import sample
from tests.support.cli import tinyfin
from tinyfin.config import from_table, load
from tinyfin.data.readers import read
from tinyfin.data.transactions import EPOCH_UNIX_S, Transactions
from tinyfin.errors import ConfigError, PackError
from tinyfin.features.compiler import compile_program
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import field
from tinyfin.oracle import OracleEngine
from tinyfin.oracle.decision import Model
from tinyfin.pack.container import build_pack, parse_pack
from tinyfin.pack.sections import decode_schema, encode_schema
from tinyfin.schema import HOST_FIELDS, PAYMENT, PAYMENT_HOST, record_offsets
from tinyfin.training.host_fields import host_columns
from tinyfin.twin import Twin

MODEL = Path(__file__).parents[2] / "models" / "payment" / "model.tfpack"
DAY = 86400
NO_HOST = 8


def cards_of(path: Path, n: int = 400, seed: int = 1) -> Transactions:
    """Few cards at several terminals over two months, some frauds, some rows without a card."""
    rng = np.random.default_rng(seed)
    time = 1_700_000_000 + np.sort(rng.integers(0, 60 * DAY, n))
    lines = ["time,terminal,token,amount_minor,label"]
    for t in time.tolist():
        token = "" if rng.random() < 0.1 else str(rng.integers(1, 9))
        lines.append(
            f"{t},{rng.integers(0, 5)},{token},{rng.integers(1, 10**8)},{int(rng.random() < 0.2)}"
        )
    path.write_text("\n".join(lines) + "\n")
    return read([path], load())


def plain_counting(tx: Transactions) -> dict[str, list[int]]:
    """The host's fields with plain Python integers and dictionaries."""
    out: dict[str, list[int]] = {spec.name: [] for spec in HOST_FIELDS}
    past: dict[int, list[int]] = defaultdict(list)
    tokens, amounts = tx.column("token").tolist(), tx.column("amount_minor").tolist()
    times, known, labels = tx.t_mono_s.tolist(), tx.label_known_s.tolist(), tx.label.tolist()
    for row, (token, t) in enumerate(zip(tokens, times, strict=True)):
        if token == 0:
            for column in out.values():
                column.append(-1)
            continue
        mine = past[token]
        for name, width, buckets in (("1d", DAY // 24, 24), ("7d", DAY, 7), ("30d", DAY, 30)):
            fresh = [j for j in mine if times[j] // width > t // width - buckets]
            out[f"host_card_count_{name}"].append(len(fresh))
        for name, width, buckets in (("", 32 * DAY, 4), ("_7d", DAY, 7)):
            paid = [amounts[j] for j in mine if times[j] // width > t // width - buckets]
            out[f"host_card_mean{name}_minor"].append(sum(paid) // len(paid) if paid else -1)
        told = sorted(j for j in mine if known[j] <= t)[-16:]
        frauds = [j for j in told if labels[j] == 1 and t - times[j] < 180 * DAY]
        out["host_card_known_frauds"].append(len(frauds))
        mine.append(row)
    return out


def test_derived_fields_are_what_plain_counting_gives(tmp_path: Path) -> None:
    tx = cards_of(tmp_path / "cards.csv")
    wanted = plain_counting(tx)
    got = host_columns(tx)
    for name, values in wanted.items():
        assert got[name].tolist() == values, name
    assert max(wanted["host_card_known_frauds"]) > 2


def test_nothing_later_takes_part(tmp_path: Path) -> None:
    tx = cards_of(tmp_path / "cards.csv")
    half = len(tx) // 2
    changed = replace(tx, values=tx.values.copy(), label=tx.label.copy())
    changed.values[half:, 0] += 1
    changed.label[half:] ^= 1
    late = tx.label_known_s[half - 1]
    before, after = host_columns(tx), host_columns(changed)
    for name in before:
        assert np.array_equal(before[name][: half + 1], after[name][: half + 1])
    assert any(
        not np.array_equal(before[name][tx.t_mono_s > late], after[name][tx.t_mono_s > late])
        for name in before
    )


def test_the_command_keeps_what_was_there(tmp_path: Path) -> None:
    data, out, config = (tmp_path / x for x in ("cards.csv", "host.parquet", "tinyfin.toml"))
    tx = cards_of(data)
    tinyfin(f"host-fields {data} --out {out}")
    config.write_text('[schema]\nextends = "payment_host"\n')
    again = read([out], load(config))
    assert again.schema == PAYMENT_HOST
    assert np.array_equal(again.values[:, : len(PAYMENT.fields)], tx.values)
    for name, values in host_columns(tx).items():
        assert np.array_equal(again.column(name), values)
        assert np.array_equal(again.has(name), values >= 0)
    assert pq.read_schema(out).names[:5] == ["time", "terminal", "token", "amount_minor", "label"]
    twice = tinyfin(f"host-fields {out} --out {tmp_path}/x.parquet", code=3)
    assert "already" in twice.output


def test_a_feature_store_can_hold_the_table(tmp_path: Path) -> None:
    """Event time and creation time, as Feast's offline stores take them: the newest row of a card
    at a moment is one, and has the fields that were true then."""
    data, out = tmp_path / "cards.csv", tmp_path / "host.parquet"
    lines = data_of_one_second(cards_of(data), data)
    tinyfin(f"host-fields {data} --out {out}")
    table = pd.read_parquet(out)
    assert table.columns[-2:].tolist() == ["event_timestamp", "created"]
    assert {str(table[name].dtype) for name in ("event_timestamp", "created")} == {
        "datetime64[us, UTC]"
    }
    assert (table["event_timestamp"].astype("int64") // 10**6).tolist() == table["time"].astype(
        int
    ).tolist()
    later = (table["created"] - table["event_timestamp"]).dt.microseconds
    assert later.tolist()[-3:] == [0, 1, 2]
    cards = table[table["token"] != ""]
    assert not cards.duplicated(["token", "created"]).any()
    assert lines == len(table)
    moments = cards[["token", "event_timestamp"]].drop_duplicates()
    for token, at in moments.tail(40).itertuples(index=False):
        mine = cards[(cards["token"] == token) & (cards["event_timestamp"] <= at)]
        newest = mine.sort_values(["event_timestamp", "created"]).iloc[-1]
        assert newest["host_card_count_1d"] == mine.iloc[-1]["host_card_count_1d"]
        assert newest.name == mine.index[-1]


def data_of_one_second(tx: Transactions, path: Path) -> int:
    """The rows, and three more of one card in one second at their end; returns how many."""
    last = int(tx.t_mono_s[-1]) + EPOCH_UNIX_S + 5
    text = path.read_text() + "".join(f"{last},1,3,{amount},0\n" for amount in (1, 2, 3))
    path.write_text(text)
    return len(text.splitlines()) - 1


def test_a_host_needs_cards(tmp_path: Path) -> None:
    schema = from_table({"schema": {"name": "x", "fields": [{"name": "a", "type": "i32"}]}}).schema
    data = tmp_path / "x.csv"
    data.write_text("time,a\n1700000000,1\n")
    tx = read(
        [data], from_table({"schema": {"name": "x", "fields": [{"name": "a", "type": "i32"}]}})
    )
    assert tx.schema == schema
    with pytest.raises(ConfigError, match="no card"):
        host_columns(tx)


def pack_of(*names: str, plan: bool = True) -> bytes:
    features = [
        Feature(f"f{i}", 0xF000 + i, 38, "", "", "before", field(name))
        for i, name in enumerate(names)
    ]
    program = compile_program(features, PAYMENT_HOST)
    if not plan:
        return build_pack(PAYMENT_HOST, program)
    return sample.answering_pack(PAYMENT_HOST, program, -1, 100)


ALL = (1 << len(PAYMENT_HOST.fields)) - 1
COUNT = PAYMENT_HOST.index("host_card_count_1d")
MEAN = PAYMENT_HOST.index("host_card_mean_minor")


@pytest.mark.parametrize(
    ("names", "present", "missed"),
    [
        (("amount_minor", "host_card_count_1d"), 1, True),
        (("amount_minor", "host_card_count_1d"), 1 | 1 << COUNT, False),
        (("amount_minor", "host_card_count_1d"), 1 | 1 << MEAN, False),
        (("amount_minor", "mcc"), 1, False),
    ],
)
def test_twin_and_oracle_say_when_the_host_is_missed(
    names: tuple[str, ...], present: int, missed: bool
) -> None:
    pack = pack_of(*names)
    parsed = parse_pack(pack)
    assert parsed.decision is not None
    assert parsed.decision.wants_host == any(name.startswith("host_") for name in names)
    values = [
        spec.missing if not present >> i & 1 else 7 for i, spec in enumerate(PAYMENT_HOST.fields)
    ]
    twin = TwinTerminal(pack)
    verdict = twin.score(1, 1000, 1000, values, present)

    def same(inputs: object) -> tuple[list[int], list[int]]:
        return [int(x) for x in twin.twin.outputs(1)], [0]

    sections = parsed.sections
    model = Model(sections["MAPS"], sections["READ"], sections["CALI"], sections["DECI"], same)
    oracle = OracleEngine(parsed.program, sections["SCHM"], model)
    answer = oracle.score(1, 1000, 1000, values, present)
    assert twin.features() == oracle.features()
    assert verdict.flags == answer.flags
    assert bool(verdict.flags & NO_HOST) == missed
    assert verdict.score_q32 == answer.score_q32


def test_a_pack_without_a_network_misses_nothing() -> None:
    twin = TwinTerminal(pack_of("host_card_count_1d", plan=False))
    values = [spec.missing for spec in PAYMENT_HOST.fields]
    assert twin.score(1, 1000, 1000, values, 1).flags == 0


def test_the_schema_keeps_the_mark_and_refuses_others() -> None:
    payload = encode_schema(PAYMENT_HOST)
    marks = [row["host"] for row in decode_schema(payload)]
    assert marks == [spec.host for spec in PAYMENT_HOST.fields]
    assert sum(marks) == len(HOST_FIELDS)
    wrong = bytearray(payload)
    wrong[8 + 1] = 4
    with pytest.raises(PackError, match="flags 4"):
        decode_schema(bytes(wrong))
    assert (
        OracleEngine(
            compile_program(["amt_log"], PAYMENT_HOST).payload, PAYMENT_HOST
        ).schema_payload
        == payload
    )


def test_the_committed_pack_reads_events_with_host_fields() -> None:
    """Fields are only ever appended: an old pack takes the longer record, and sees the same."""
    pack = MODEL.read_bytes()
    old, new = Twin(pack), Twin(pack)
    known = len(parse_pack(pack).fields)
    offsets = [row["offset"] for row in parse_pack(pack).fields]
    assert list(record_offsets(PAYMENT_HOST)[:known]) == offsets
    rng = np.random.default_rng(3)
    for i in range(40):
        values = [int(rng.integers(0, 3)) for _ in range(known)]
        values[0] = int(rng.integers(1, 90000))
        mask = (1 << known) - 1
        host = [7] * (len(PAYMENT.fields) - known) + [5, 50, 1234, 1]
        a = old.score(0, i + 1, 1000 + 60 * i, 1000 + 60 * i, values, mask)
        b = new.score(0, i + 1, 1000 + 60 * i, 1000 + 60 * i, [*values, *host], ALL)
        assert a == b
        assert np.array_equal(old.features(0), new.features(0))
        for twin in (old, new):
            assert twin.outcome(0, i + 1, 1001 + 60 * i, 0, 0, a.action) == 0
    record = struct.pack("<II", ALL, 0) + bytes(200)
    assert new._engine.score_record(0, 999, 9000, 9000, record) == 0
    assert old.state_digest(0) != 0
