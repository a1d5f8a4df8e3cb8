# SPDX-License-Identifier: Apache-2.0
"""Scores without the notices of the calibration are named, row by row, wherever they come from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cli import tinyfin
from tests.support.configs import QUICK
from tests.support.transactions import labelled
from tinyfin.config import load
from tinyfin.data.events import has_notice
from tinyfin.data.readers import read
from tinyfin.evaluation.data_remarks import warnings
from tinyfin.pack.container import parse_pack
from tinyfin.quantization.workflow import quantize
from tinyfin.results.evaluation import Evaluation, FoldFacts
from tinyfin.results.run import LabelAges, SplitFacts
from tinyfin.training.notices import FAR_S, KnownLabels, newest_label_ages
from tinyfin.training.run_folder import open_run
from tinyfin.training.workflow import train

DAY_S = 86_400


def asked(*words: object) -> tuple[dict[str, Any], str]:
    """The JSON of a verb, and what it says on stderr."""
    result = tinyfin(*words, "--json")
    return json.loads(result.stdout), result.stderr


# ------------------------------------------------------------- how old the newest known label is


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    notices=st.sampled_from(["both", "fraud_only", "none"]),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_ages_in_pieces_are_those_of_counting(seed: int, notices: Any, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    t = np.sort(rng.choice(np.arange(0, 300), n, replace=False))
    tx = labelled(t, rng.choice([-1, 0, 1], n), t + rng.integers(0, 90, n))
    tx.terminal[:] = rng.integers(0, 3, n)
    told = has_notice(tx, notices)
    expected = []
    for i in range(n):
        known = told & (tx.label_known_s <= t[i])
        mine = known & (tx.terminal == tx.terminal[i])
        expected.append([t[i] - t[m].max() if m.any() else FAR_S for m in (known, mine)])
    watch = KnownLabels(3, notices)
    found = [
        np.stack(watch.ages(tx.take(np.arange(a, b))), axis=1)
        for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), n], strict=True)
        if a < b
    ]
    np.testing.assert_array_equal(np.concatenate(found), np.array(expected))
    some = rng.permutation(n)[:9]
    whole = np.stack(KnownLabels(3, notices).ages(tx, some), axis=1)
    np.testing.assert_array_equal(whole, np.array(expected)[some])


def test_a_run_remembers_how_its_calibration_was_fed() -> None:
    t = np.arange(4000) * 600
    tx = labelled(t, np.arange(4000) % 5 == 0, t + 3 * DAY_S)
    rows = np.arange(3000, 4000)
    assert newest_label_ages(tx, "both", rows) == LabelAges(stream=3 * DAY_S, terminal=3 * DAY_S)
    fraud = newest_label_ages(tx, "fraud_only", rows).stream
    assert fraud == 3 * DAY_S + 4 * 600
    assert newest_label_ages(tx, "none", rows) == LabelAges(stream=None, terminal=None)
    # half of the terminals never hear of a label: nothing can be asked of a single one
    tx.terminal[:] = np.arange(4000) % 2
    deaf = labelled(t, np.where(tx.terminal == 1, -1, tx.label), t + 3 * DAY_S)
    deaf.terminal[:] = tx.terminal
    object.__setattr__(deaf, "terminals", ("0", "1"))
    assert newest_label_ages(deaf, "both", rows).terminal is None


# ------------------------------------------------------------------------- a world that needs them


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Terminals that are compromised for 20 days: only known labels show it. Trained on 70
    days; ``week`` is what follows, ``before`` what precedes it."""
    folder = tmp_path_factory.mktemp("notices")
    rng = np.random.default_rng(3)
    terminals, days, per_day = 40, 90, 8
    n = terminals * days * per_day
    terminal = np.tile(np.arange(terminals), n // terminals)
    t = np.sort(rng.integers(0, days * DAY_S, n)) + 1_735_689_600
    start = rng.integers(-20, days, (terminals, 3))
    day = (t - t[0]) // DAY_S
    bad = ((day[:, None] >= start[terminal]) & (day[:, None] < start[terminal] + 20)).any(axis=1)
    label = bad & (rng.random(n) < 0.5)
    table = pa.table(
        {
            "time": t,
            "terminal": [f"T{i}" for i in terminal],
            "token": rng.integers(1, 900, n),
            "amount_minor": rng.integers(100, 9000, n),
            "label": label.astype(np.int8),
        }
    )
    config = folder / "tinyfin.toml"
    config.write_text(
        '[data]\ntoken = {column = "token", unit = "token"}\nlabel = "label"\ntime = "time"\n'
        'terminal = "terminal"\namount_minor = "amount_minor"\n'
        '[features]\nnames = ["amt_log", "known_last", "known_run", "known_rate_14d"]\n'
        '[model]\nfamily = "mlp"\nhidden = [8]\nepochs = 10\nbatch_size = 256\n'
        "[decision]\ngo_online_per_1000 = 20\n[evaluate]\nbaselines = []\n"
    )
    cut = int(np.searchsorted(day, 78))
    pq.write_table(table, folder / "all.parquet")
    pq.write_table(table.slice(0, cut), folder / "before.parquet")
    pq.write_table(table.slice(cut), folder / "week.parquet")
    pq.write_table(table.slice(cut).drop_columns(["label"]), folder / "bare.parquet")
    run = train([folder / "before.parquet"], load(config), name="run", out=folder)
    quantize(run)
    return {"folder": folder, "run": run.path, "config": config}


def scored(world: dict[str, Path], name: str, *more: object) -> tuple[dict[str, Any], str]:
    folder = world["folder"]
    out = folder / "out.parquet"
    return asked("score", world["run"], folder / name, "--out", out, *more)


def test_with_notices_the_frauds_promised_come_and_without_they_do_not(
    world: dict[str, Path],
) -> None:
    warm = ("--warmup", world["folder"] / "before.parquet")
    fed, said = scored(world, "week.parquet", *warm)
    rows = fed["transactions"]
    assert fed["notices"]["as_trained"] == rows
    assert fed["notices"]["features"] == ["known_last", "known_run", "known_rate_14d"]
    assert "WARNING" not in said
    assert fed["labelled"]["transactions"] == rows
    assert 0.75 < fed["labelled"]["expected_frauds"] / fed["labelled"]["frauds"] < 1.3
    starved, said = scored(world, "week.parquet", *warm, "--notices", "none")
    assert starved["notices"]["missing"] == rows
    assert f"WARNING: {rows} of {rows} transactions were scored without the notices" in said
    assert "known_last, known_run, known_rate_14d do not move" in said
    assert starved["expected_frauds"] / fed["labelled"]["frauds"] < 0.7


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("bare.parquet", ()),  # no labels at all
        ("week.parquet", ()),  # labels that become known after the file ends
        ("week.parquet", ("--notices", "none")),
    ],
)
def test_every_row_is_named_where_no_notice_comes(
    world: dict[str, Path], name: str, more: tuple[str, ...]
) -> None:
    result, said = scored(world, name, *more)
    early = pq.read_table(world["folder"] / "out.parquet")["notices"].to_pylist()[:2000]
    assert set(early) == {"missing"}
    assert result["notices"]["missing"] >= 2000
    assert "WARNING" in said


def test_rows_after_the_labels_ended_are_named(world: dict[str, Path]) -> None:
    """Labels for part of the time: the state goes stale some days after the last one."""
    table = pq.read_table(world["folder"] / "all.parquet")
    day = (table["time"].to_numpy() - table["time"][0].as_py()) // DAY_S
    label = pa.array(table["label"].to_numpy(), mask=day >= 40)
    half = table.set_column(4, "label", label)
    pq.write_table(half, world["folder"] / "half.parquet")
    scored(world, "half.parquet")
    found = np.array(pq.read_table(world["folder"] / "out.parquet")["notices"].to_pylist())
    assert set(found[day < 7]) == {"missing"}
    assert set(found[(day > 14) & (day < 40)]) == {"as_trained"}
    assert set(found[day > 40 + 14]) == {"missing"}


def test_a_terminal_that_hears_nothing_is_named_alone(world: dict[str, Path]) -> None:
    table = pq.read_table(world["folder"] / "all.parquet")
    deaf = np.array(table["terminal"].to_pylist()) == "T7"
    day = (table["time"].to_numpy() - table["time"][0].as_py()) // DAY_S
    label = pa.array(table["label"].to_numpy(), mask=deaf)
    pq.write_table(table.set_column(4, "label", label), world["folder"] / "deaf.parquet")
    scored(world, "deaf.parquet")
    found = np.array(pq.read_table(world["folder"] / "out.parquet")["notices"].to_pylist())
    assert set(found[deaf]) == {"missing"}
    assert set(found[~deaf & (day > 20)]) == {"as_trained"}


def test_notices_of_another_kind_are_named(world: dict[str, Path]) -> None:
    warm = ("--warmup", world["folder"] / "before.parquet")
    result, said = scored(world, "week.parquet", *warm, "--notices", "fraud_only")
    assert result["notices"]["other"] == result["transactions"]
    assert "trained with notices = 'both'" in said
    assert "with 'fraud_only'" in said
    facts = json.loads((world["run"] / "run.json").read_text())
    assert facts["data"]["newest_label_s"]["stream"] < 8 * DAY_S


def test_a_run_from_before_it_was_measured_is_judged_by_its_label_delay(
    world: dict[str, Path], tmp_path: Path
) -> None:
    import shutil

    old = tmp_path / "run"
    shutil.copytree(world["run"], old)
    facts = json.loads((old / "run.json").read_text())
    del facts["data"]["newest_label_s"]
    (old / "run.json").write_text(json.dumps(facts))
    result, _ = asked("score", old, world["folder"] / "bare.parquet", "--out", tmp_path / "o.csv")
    assert result["notices"]["missing"] == result["transactions"]


def test_a_model_without_label_fed_features_needs_none(
    small: dict[str, Path], tmp_path: Path
) -> None:
    config = tmp_path / "tinyfin.toml"
    config.write_text(QUICK)
    run = train([small["data"]], load(config), name="run", out=tmp_path)
    quantize(run)
    result, said = asked(
        f"score {run.path} {small['data']} --out {tmp_path}/o.parquet --notices none"
    )
    assert result["notices"]["unused"] == result["transactions"]
    assert "WARNING" not in said


# ----------------------------------------------------------------------------------- other verbs


def test_compare_features_and_state_say_so_too(world: dict[str, Path], tmp_path: Path) -> None:
    folder, run = world["folder"], world["run"]
    facts, said = asked("compare", run, run, folder / "week.parquet")
    assert facts["notices"]["a"] == facts["notices"]["b"]
    assert facts["notices"]["a"]["missing"] > 0
    assert f"of {run} were compared without the notices" in said
    facts, said = asked(
        f"compare {run} {run} {folder}/week.parquet --warmup {folder}/before.parquet"
    )
    assert facts["notices"]["a"]["missing"] == 0
    assert "WARNING" not in said
    bare = (
        "features",
        folder / "bare.parquet",
        "--config",
        world["config"],
        "--out",
        tmp_path / "f.parquet",
    )
    assert "no notice reaches known_last, known_run, known_rate_14d" in asked(*bare)[1]
    fed = (
        "features",
        folder / "before.parquet",
        "--config",
        world["config"],
        "--out",
        tmp_path / "f.parquet",
    )
    assert "no notice reaches" not in asked(*fed)[1]
    for name, known in (("bare", False), ("before", True)):
        facts, said = asked(
            f"state export {run}",
            folder / f"{name}.parquet",
            "--terminal",
            "T7",
            "--out",
            tmp_path / "state",
        )
        assert (facts["known_labels"] > 0) == known
        assert ("no label of terminal T7 is known" in said) != known


def test_an_evaluation_names_parts_whose_test_lacked_notices() -> None:
    fed = {"as_trained": 900, "missing": 0, "other": 0, "unused": 0}
    full, many, few = (
        FoldFacts.model_construct(
            name=name, notices={**fed, "missing": missing}, split=SplitFacts.model_construct()
        )
        for name, missing in (("a", 0), ("b", 100), ("c", 9))
    )
    assert warnings(Evaluation.model_construct(folds=[full, few])) == []
    (text,) = warnings(Evaluation.model_construct(folds=[full, many]))
    assert text.startswith("part b: 100 of 1,000 test transactions had no notices")


# -------------------------------------------------------------------- columns that are carried on


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_columns_are_carried_on_when_asked_for(
    small: dict[str, Path], tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"scores.{form}"
    run = open_run(small["run"])
    result, _ = asked("score", run.path, small["data"], "--out", out, "--with", "all")
    table = pq.read_table(out) if form == "parquet" else pacsv.read_csv(out)
    tx = read([small["data"]], run.config())
    fields = [f.name for f in tx.schema.fields if f.unit != "token" and not f.ram_only]
    assert {"amount_minor", "entry_mode", "mcc"} <= set(fields)
    assert table.column_names == [
        "input_row",
        "terminal",
        "id",
        "time",
        *fields,
        "score",
        "score_q32",
        "raw",
        "action",
        "reasons",
        "reason_ids",
        "flags",
        "flag_bits",
        "notices",
        "label",
        "model_id",
        "pack_id",
    ]
    for name in fields:
        expected = [
            int(x) if there else None
            for x, there in zip(tx.column(name), tx.has(name), strict=True)
        ]
        if values := tx.schema.field(name).values:
            expected = [None if x is None else values[x] for x in expected]
        found = [None if x == "" else x for x in table[name].to_pylist()]
        assert found == expected, name
    assert table["time"].type.tz == "UTC"
    assert table["id"].to_pylist() == tx.id.tolist()
    assert table["terminal"].to_pylist() == [tx.terminals[i] for i in tx.terminal]
    assert table["label"].to_pylist() == [None if x < 0 else x for x in tx.label.tolist()]
    since = table["time"].to_numpy().astype("datetime64[s]").astype(np.int64) - 946_684_800
    np.testing.assert_array_equal(since, tx.t_mono_s)
    pack = parse_pack(run.pack_bytes())
    assert set(table["model_id"].to_pylist()) == {pack.model_id.hex()} == {result["model_id"]}
    assert set(table["pack_id"].to_pylist()) == {pack.pack_id.hex()} == {result["pack_id"]}
    reasons = table["reasons"].to_pylist()
    if form == "csv":
        reasons = [text.split("; ") if text else [] for text in reasons]
    alert = np.array(table["action"].to_pylist()) != "accept"
    assert all(bool(given) == alerted for given, alerted in zip(reasons, alert, strict=True))
    assert Counter(table["notices"].to_pylist()) == {
        name: n for name, n in result["notices"].items() if name in ("as_trained", "missing") and n
    }
    assert result["expected_frauds"] == pytest.approx(np.sum(table["score"].to_numpy()))


def test_what_was_not_asked_for_is_not_there(small: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    tinyfin("score", small["run"], small["data"], "--out", out, "--with", "id, model")
    names = pq.read_table(out).column_names
    assert names[:3] == ["input_row", "id", "score"]
    assert names[-2:] == ["model_id", "pack_id"]
    assert not {"terminal", "time", "label"} & set(names)
    wrong = tinyfin("score", small["run"], small["data"], "--out", out, "--with", "pan", code=3)
    assert "there are terminal, id, time, label, model, " in wrong.output
    assert "amount_minor" in wrong.output
    token = tinyfin("score", small["run"], small["data"], "--out", out, "--with", "token", code=3)
    assert "it identifies a card and is never written" in token.output
