# SPDX-License-Identifier: Apache-2.0
"""Training holds little of each row, gives the same as in one piece, and says what it left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cli import tinyfin
from tests.support.configs import QUICK
from tests.support.process import call
from tinyfin.config import load
from tinyfin.data import events
from tinyfin.data.events import Stream, event_stream, stream_in_windows
from tinyfin.data.readers import read
from tinyfin.data.values import joined_values, narrow
from tinyfin.results.metrics import Thinned
from tinyfin.schema import PAYMENT
from tinyfin.training import chunks, notices
from tinyfin.training.representative_sample import thinned, thinned_facts, thinned_text
from tinyfin.training.run_folder import open_run
from tinyfin.twin import Twin

numbers = st.integers(-(2**63), 2**63 - 1)


def test_what_was_thinned_is_in_output_metrics_run_and_card(judged: Path, tmp_path: Path) -> None:
    run = open_run(judged)
    told = run.read_json("metrics.json")["thinned"]
    model = next(row for row in told if row["who"] == "the model")
    assert model["limit"] == "[model.options] genuine_rows"
    split = run.read_json("run.json")["split"]["fit"]
    assert (model["of"], model["of_frauds"]) == (split["rows"], split["frauds"])
    assert model["rows"] == 6000 + model["frauds"]
    assert run.read_json("run.json")["thinned"] == told
    card = " ".join((judged / "MODEL_CARD.md").read_text().split())
    assert f"In the run itself {thinned_text(Thinned.model_validate(model))}." in card
    (data,) = run.read_json("run.json")["data"]["files"]
    done = tinyfin(
        f"train {data['path']} --config {judged}/config.toml --name again --out {tmp_path}"
    )
    assert thinned_text(Thinned.model_validate(model)) in done.stderr


@given(st.lists(st.integers(-1, 1), min_size=1, max_size=60), st.integers(1, 20))
def test_thinning_keeps_all_frauds_and_says_so_only_when_rows_are_left_out(
    labels: list[int], genuine: int
) -> None:
    label = np.array(labels, np.int8)
    rows = thinned(label, genuine, 1)
    assert set(np.flatnonzero(label == 1)) <= set(rows.tolist())
    assert np.count_nonzero(label[rows] != 1) == min(genuine, np.count_nonzero(label != 1))
    told = thinned_facts("it", label, rows, "[a] key")
    assert bool(told) == (len(rows) < len(label))
    if told:
        assert f"{len(rows)} of {len(label)} rows" in thinned_text(told[0])
        assert "[a] key bounds them" in thinned_text(told[0])


@given(st.lists(st.lists(st.tuples(numbers, numbers, st.booleans()), max_size=5), max_size=4))
def test_narrow_columns_hold_every_number(pieces: list[list[tuple[int, int, bool]]]) -> None:
    schema = PAYMENT
    width = len(schema.fields)
    missing = [int(np.uint64(f.missing & (2**64 - 1)).view(np.int64)) for f in schema.fields]
    whole, parts = [], []
    for piece in pieces:
        values = np.tile(np.array(missing, np.int64), (len(piece), 1)).reshape(-1, width)
        present = np.zeros(len(piece), np.uint32)
        for row, (first, second, there) in enumerate(piece):
            if there:
                values[row, :2] = first, second
                present[row] = 3
        whole.append(values)
        parts.append((narrow(schema, values, present), len(piece)))
    joined = joined_values(schema, parts)
    expected = np.concatenate([np.empty((0, width), np.int64), *whole])
    np.testing.assert_array_equal(np.asarray(joined), expected)
    np.testing.assert_array_equal(np.asarray(joined[::2]), expected[::2])
    for i in range(width):
        np.testing.assert_array_equal(joined.column(i), expected[:, i])


@pytest.mark.parametrize("count", [3, 100, 10**6])
def test_windows_are_the_stream(small: dict[str, Path], count: int) -> None:
    tx = read([small["data"]], load(small["config"]))
    whole = event_stream(tx)
    parts = [
        Stream(part.kind, rows[part.index], part.t_mono_s)
        for rows, part in stream_in_windows(tx, events=count)
    ]
    assert (len(parts) > 1) == (count < len(tx))
    for name in ("kind", "index", "t_mono_s"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_features_do_not_depend_on_the_windows(
    small: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tx = read([small["data"]], load(small["config"]))
    pack = open_run(small["run"]).pack_bytes()
    terminals = len(tx.terminals)
    whole = Twin(pack, terminals=terminals).run(tx, event_stream(tx))
    monkeypatch.setattr(
        chunks, "stream_in_windows", lambda *a, **k: events.stream_in_windows(*a, **k, events=500)
    )
    found = chunks.replay_all(tx, Twin(pack, terminals=terminals), "both", ("features", "raw"))
    np.testing.assert_array_equal(found["features"], whole.features)
    np.testing.assert_array_equal(found["raw"], whole.raw)


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_ages_of_labels_do_not_depend_on_the_chunks(
    small: dict[str, Path], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    tx = read([small["data"]], load(small["config"])).take(slice(0, 3000))
    rows = np.arange(900, 3000, 2)
    known = notices.KnownLabels(len(tx.terminals), "both").ages(tx, rows)
    monkeypatch.setattr(notices, "_CHUNK_ROWS", count)
    parts = notices.KnownLabels(len(tx.terminals), "both")
    ages = [parts.ages(piece, some) for piece, some in notices._chunks(tx, rows)]
    assert len(ages) > 1
    for whole, pieces_ in zip(known, zip(*ages, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(pieces_))


TRAIN = """
import json, resource, sys
from tinyfin.config import load
from tinyfin.training.workflow import train
train([sys.argv[1]], load(sys.argv[2]), name=sys.argv[3], out=sys.argv[4])
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
"""


def test_memory_for_a_row(small: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "tinyfin.toml"
    config.write_text(QUICK)
    table = pq.read_table(small["data"]).drop_columns(["id"])
    peaks, sizes = [], []
    for times in (10, 40):
        data = tmp_path / f"{times}.parquet"
        pq.write_table(pa.concat_tables([table] * times), data)
        done = call(sys.executable, "-c", TRAIN, data, config, times, tmp_path)
        peaks.append(json.loads(done.stdout.splitlines()[-1]))
        sizes.append(table.num_rows * times)
    each = (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])
    assert each < 400, f"{each:.0f} bytes a row"
