# SPDX-License-Identifier: Apache-2.0
"""One event explained: against brute force, `score`, and files that were changed."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cli import tinyfin, tinyfin_json
from tests.support.configs import SMALL
from tests.support.sample import network, pack_of
from tinyfin import paths, simulator
from tinyfin.config import load
from tinyfin.errors import MismatchError
from tinyfin.explanation.changes import nearest
from tinyfin.explanation.shapley import contributions, reason_ids, shapley_values, strongest
from tinyfin.explanation.workflow import explain
from tinyfin.features.compiler import compile_program
from tinyfin.features.selection import select
from tinyfin.pack.container import parse_pack
from tinyfin.quantization.workflow import quantize
from tinyfin.results.explanation import Explanation
from tinyfin.schema import PAYMENT
from tinyfin.training.run_folder import open_run
from tinyfin.training.workflow import train
from tinyfin.twin import Twin

PAGE = (paths.project_dir() / "docs" / "explain.md").read_text(encoding="utf-8")
SCHEMA = paths.project_dir() / "docs" / "schemas" / "explanation.json"
SIX = ["amt_log", "amt_dev", "hour_rare", "tok_gap_s", "entry_risk", "known_rate_28d"]
BOOSTED = re.sub(r"\[model\].*?\n\n", "", SMALL, flags=re.DOTALL).replace(
    'names = "default"',
    f"names = {json.dumps(SIX)}\n\n[model]\nfamily = 'boosted'\n"
    "options = {trees = 30, depth = 3}",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small simulation, a run of thirty trees with six features, and the scores of all rows."""
    folder = tmp_path_factory.mktemp("explained")
    config, data = folder / "tinyfin.toml", folder / "town.parquet"
    config.write_text(BOOSTED)
    settings = load(config)
    simulator.write(simulator.simulate(settings.simulate), data)
    run = train([data], settings, name="town", out=folder / "runs")
    quantize(run)
    tinyfin("score", run.path, data, "--out", folder / "scores.parquet", "--with", "all")
    return {"data": data, "run": run.path, "scores": folder / "scores.parquet"}


@pytest.fixture(scope="module")
def scores(world: dict[str, Path]) -> pd.DataFrame:
    return pd.read_parquet(world["scores"])


@pytest.fixture(scope="module")
def alerts(scores: pd.DataFrame) -> list[int]:
    """Rows of alerts, from all over the file."""
    rows = scores.input_row[scores.action != "accept"].tolist()
    assert len(rows) > 20
    return [int(row) for row in rows[:: len(rows) // 6]]


# -------------------------------------------------------------------------------- Shapley values


def brute_force(
    score: Callable[[np.ndarray], np.ndarray], event: np.ndarray, background: np.ndarray
) -> list[float]:
    """The definition: the weighted mean gain over all coalitions (Shapley, 1953)."""
    n = len(event)
    worth = {}
    for size in range(n + 1):
        for some in combinations(range(n), size):
            rows = background.copy()
            rows[:, list(some)] = event[list(some)]
            worth[some] = sum(score(rows).tolist()) / len(rows)
    values = []
    for i in range(n):
        total = 0.0
        for some, without in worth.items():
            if i not in some:
                k = len(some)
                share = math.factorial(k) * math.factorial(n - k - 1) / math.factorial(n)
                total += share * (worth[tuple(sorted((*some, i)))] - without)
        values.append(total)
    return values


def random_network(inputs: int) -> tuple[Any, Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """A run that has nothing but calibration rows, a random network's scores, and events."""
    names = [f"amt_over_{i}00" for i in range(1, inputs + 1)]
    features = select(load(None).features.model_copy(update={"names": names}))
    pack = pack_of(PAYMENT, compile_program(features, PAYMENT), network(inputs))
    twin = Twin(pack)
    codes = np.random.default_rng(3).integers(-128, 128, (24, inputs)).astype(np.int8)
    run = SimpleNamespace(
        slices=lambda *_: {"calibration": codes[:20]},
        facts=lambda: SimpleNamespace(model=SimpleNamespace(seed=1)),
        path=Path("a run without trees"),
    )
    return run, lambda rows: twin.infer(rows)[1], codes


def test_values_of_a_network_with_six_inputs_are_brute_force() -> None:
    run, score, codes = random_network(6)
    events = codes[20:]
    found = shapley_values(run, score, events, score(events))
    assert found.method == "exact"
    for values, event in zip(found.values, events, strict=True):
        assert values == pytest.approx(brute_force(score, event, codes[:20]), abs=1e-6)
    assert not found.standard_error.any()


def test_permutations_come_near_and_say_how_near() -> None:
    run, score, codes = random_network(12)
    events = codes[20:]
    found = shapley_values(run, score, events, score(events))
    assert found.method == "permutations"
    truth = np.array([brute_force(score, event, codes[:20]) for event in events])
    off = np.abs(found.values - truth)
    assert np.all(off <= 5 * found.standard_error + 1e-6)
    assert off.max() < 0.1 * np.abs(truth).max()
    assert np.abs(found.values.sum(axis=1) - (score(events) - found.base)).max() <= found.bound


def test_values_of_trees_are_brute_force(world: dict[str, Path]) -> None:
    run = open_run(world["run"])
    twin = Twin(run.pack_bytes())
    events = run.slices("test")["test"][::4000]

    def score(rows: np.ndarray) -> np.ndarray:
        return twin.infer(rows)[1]

    kept = run.slices("calibration")["calibration"]
    background = np.random.default_rng(run.facts().model.seed).choice(kept, 100, replace=False)
    found = shapley_values(run, score, events, score(events))
    assert found.method == "trees"
    for values, event in zip(found.values, events, strict=True):
        assert values == pytest.approx(brute_force(score, event, background), abs=found.bound)


def test_another_model_than_the_one_of_the_verdict_is_noticed(
    world: dict[str, Path], tmp_path: Path, alerts: list[int]
) -> None:
    """The control: sabotaged scores, and sabotaged trees, do not add up."""
    run, score, codes = random_network(6)
    events = codes[20:]
    with pytest.raises(MismatchError, match="4 of 4 events do not add up"):
        shapley_values(run, lambda rows: score(rows) + rows[:, 0], events, score(events))
    sabotaged = tmp_path / "run"
    shutil.copytree(world["run"], sabotaged)
    model = json.loads((sabotaged / "model.json").read_text())
    model["leaf"] = [[min(leaf + 3, 255) for leaf in tree] for tree in model["leaf"][:1]] + [
        [255 - leaf for leaf in tree] for tree in model["leaf"][1:]
    ]
    (sabotaged / "model.json").write_text(json.dumps(model))
    refused = tinyfin("explain", sabotaged, world["data"], "--event", f"row:{alerts[0]}", code=4)
    assert "do not add up" in refused.output


# ------------------------------------------------------------------------------------ the verdict


def test_verdict_and_reasons_are_those_of_score(
    world: dict[str, Path], scores: pd.DataFrame, alerts: list[int]
) -> None:
    known = scores.set_index("input_row")
    accepted = [0, len(scores) - 1]
    for row in [*alerts, *accepted]:
        found, own = explain(world["run"], world["data"], row), known.loc[row]
        assert (found.row, found.id, found.terminal) == (row, own.id, own.terminal)
        assert pd.Timestamp(found.time, tz="UTC") == own.time
        assert (found.advice, found.raw, found.score) == (own.action, own.raw, own.score)
        assert [reason.text for reason in found.reasons] == own.reasons.tolist()
        assert [int(reason.code[1:]) for reason in found.reasons] == own.reason_ids.tolist()
        assert (found.flags, found.notices) == (own["flags"].tolist(), own.notices)
        assert found.fields["amount_minor"] == own.amount_minor
        assert {"token", "bin_hash"}.isdisjoint(found.fields)
        assert {f.feature for f in found.features} == {*SIX}
        total = sum(f.shapley for f in found.features)
        assert total == pytest.approx(found.raw - found.base, abs=found.bound)
        assert bool(found.changes) == (row not in accepted)
    assert found.lineage == parse_pack(open_run(world["run"]).pack_bytes()).lineage


def test_values_are_the_catalogue_s(world: dict[str, Path], alerts: list[int]) -> None:
    """Worked out from the file: a logarithm of the amount, and the training median of it."""
    found = explain(world["run"], world["data"], alerts[0])
    (amount,) = (f for f in found.features if f.feature == "amt_log")
    assert amount.value == round(256 * math.log2(1 + int(found.fields["amount_minor"])))
    run = open_run(world["run"])
    assert amount.usual == run.slices("medians")["medians"][0]
    assert "log2" in amount.definition


def test_contributions_give_the_reasons_of_the_engine(world: dict[str, Path]) -> None:
    run = open_run(world["run"])
    twin, decision = Twin(run.pack_bytes()), parse_pack(run.pack_bytes()).decision
    assert decision is not None
    inputs = run.slices("test")["test"][::500]
    own = contributions(lambda rows: twin.infer(rows)[1], inputs, decision)
    for i, event in enumerate(inputs):
        for j, reference in enumerate(decision.references):
            other = event.copy()
            other[j] = reference
            raw = twin.infer(np.stack([event, other]))[1].tolist()
            assert own[i, j] == raw[0] - raw[1]
    ids = reason_ids(decision, inputs)
    assert np.all((ids == 0) | (inputs != np.array(decision.references)))


def test_strongest_names_each_reason_once_and_nothing_that_lowers() -> None:
    values, ids = np.array([5, 9, 9, -4, 7, 1, 2]), np.array([1, 2, 3, 4, 2, 0, 6])
    assert strongest(values, ids) == [2, 3, 1]
    assert strongest(-values, ids) == [4]


# ----------------------------------------------------------------------------------- which event


def test_an_event_has_several_names(
    world: dict[str, Path], scores: pd.DataFrame, alerts: list[int]
) -> None:
    own = scores.set_index("input_row").loc[alerts[1]]
    first = explain(world["run"], world["data"], alerts[1])
    names = [f"row:{alerts[1]}", f"id:{own.id}", f"{own.terminal}@{own.time:%Y-%m-%dT%H:%M:%S}"]
    for name in names:
        found = tinyfin_json("explain", world["run"], world["data"], "--event", name)
        assert Explanation.model_validate(found) == first


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ("17", r"may be row:16 \(.*\), row:17 \(.*\); name one of them by its row:N"),
        ("row:99999999", r"no transaction is that one; name it by row:N"),
        ("id:99999999", r"no transaction is that one"),
        ("T0000001@2025-01-06T00:00:00", r"no transaction is that one"),
        ("T0000001@yesterday", r"--event T0000001@yesterday: "),
        ("row:first", r"is no row"),
    ],
)
def test_what_is_not_one_event_is_refused(world: dict[str, Path], event: str, says: str) -> None:
    refused = tinyfin("explain", world["run"], world["data"], "--event", event, code=3)
    assert re.search(says, " ".join(refused.output.split()))


def test_without_ids_those_of_the_scores_lead_to_the_event(
    world: dict[str, Path], tmp_path: Path
) -> None:
    table = pq.read_table(world["data"]).drop_columns(["id"])
    pq.write_table(table, bare := tmp_path / "bare.parquet")
    tinyfin("score", world["run"], bare, "--out", tmp_path / "s.parquet", "--with", "id")
    number = pd.read_parquet(tmp_path / "s.parquet").id[17]
    assert explain(world["run"], bare, f"id:{number}").row == 17


def test_earlier_files_count_as_warm_up(world: dict[str, Path], tmp_path: Path) -> None:
    table = pq.read_table(world["data"])
    pq.write_table(table.slice(0, 9000), tmp_path / "early.parquet")
    pq.write_table(table.slice(9000), tmp_path / "late.parquet")
    late = explain(world["run"], tmp_path / "late.parquet", 500, warmup=tmp_path / "early.parquet")
    whole = explain(world["run"], world["data"], 9500)
    assert late.row == 500
    assert late.model_copy(update={"row": 9500}) == whole


# ------------------------------------------------------------------------------ what would change


def rescored(world: dict[str, Path], folder: Path, row: int, column: str, value: object) -> str:
    """What `score` says of a row in a file in which it has another value."""
    table = pq.read_table(world["data"]).to_pandas()
    table.loc[row, column] = value
    schema = pq.read_schema(world["data"])
    import pyarrow as pa

    pq.write_table(pa.Table.from_pandas(table, schema, preserve_index=False), folder / "x.parquet")
    tinyfin("score", world["run"], folder / "x.parquet", "--out", folder / "s.parquet")
    return str(pd.read_parquet(folder / "s.parquet").set_index("input_row").loc[row].action)


def test_changes_hold_in_a_changed_file(
    world: dict[str, Path], tmp_path: Path, alerts: list[int]
) -> None:
    amounts = modes = 0
    for row in alerts[:4]:
        found = {
            change.field: change for change in explain(world["run"], world["data"], row).changes
        }
        amount = found["amount_minor"]
        assert ("with none of" in amount.text) == (not amount.accepted)
        for value in amount.accepted:
            amounts += 1
            assert rescored(world, tmp_path, row, "amount_minor", value) == "accept"
            nearer = int(value) + (1 if int(value) < int(amount.value) else -1)
            assert rescored(world, tmp_path, row, "amount_minor", nearer) != "accept"
        if amount.accepted:
            assert f"({amount.accepted[0]:,} in place of {amount.value:,})" in amount.text
        mode = found["entry_mode"]
        assert mode.tried == 6
        for value in mode.accepted[:1]:
            modes += 1
            assert rescored(world, tmp_path, row, "entry_mode", value) == "accept"
    assert amounts
    assert modes


def test_an_hour_is_tried_on_the_wall_clock_alone(
    world: dict[str, Path], tmp_path: Path, scores: pd.DataFrame
) -> None:
    """The file's one column of time drives windows too; a second column moves the wall clock."""
    run = open_run(world["run"])
    alerts = scores.input_row[scores.action != "accept"].tolist()
    hours = (explain(run, world["data"], int(row)).changes[-1] for row in alerts)
    row, change = next((r, c) for r, c in zip(alerts, hours, strict=True) if c.accepted)
    assert (change.field, change.tried) == ("hour", 23)
    table = pq.read_table(world["data"]).to_pandas()
    table["local_time"] = table["time"]
    moved = int(change.accepted[0]) - int(change.value)
    table.loc[row, "local_time"] += pd.Timedelta(hours=moved)
    table.to_parquet(tmp_path / "moved.parquet")
    assert explain(run, tmp_path / "moved.parquet", int(row)).advice == "accept"


@given(st.sets(st.integers(0, 5000)), st.integers(0, 5000), st.booleans())
def test_a_search_finds_what_is_accepted(good: set[int], now: int, up: bool) -> None:
    """Whatever is accepted, and the value before it is not."""
    good.discard(now)

    def accepted(values: np.ndarray) -> np.ndarray:
        return np.array([int(value) in good for value in values])

    end = 5000 if up else 0
    found = nearest(accepted, now, end)
    if found is not None:
        assert found in good
        assert min(now, end) <= found <= max(now, end)
        assert found + (-1 if up else 1) not in good


@given(st.integers(1, 10**9), st.integers(0, 10**9))
def test_a_threshold_is_found_to_the_unit(now: int, cut: int) -> None:
    found = nearest(lambda values: values < cut, now, 0)
    if cut <= now:
        assert found == (cut - 1 if cut else None)


def test_pending_transactions_stay_where_they_are(
    world: dict[str, Path], tmp_path: Path, alerts: list[int]
) -> None:
    """Without outcomes the table of pending transactions is full: scoring what might have been
    must push none of them out."""
    table = pq.read_table(world["data"]).to_pandas()
    table["result"] = None
    table.to_parquet(tmp_path / "open.parquet")
    tinyfin("score", world["run"], tmp_path / "open.parquet", "--out", tmp_path / "s.parquet")
    known = pd.read_parquet(tmp_path / "s.parquet").set_index("input_row")
    rows = known.index[known.action != "accept"].tolist()[::20]
    assert rows
    for row in rows:
        assert explain(world["run"], tmp_path / "open.parquet", int(row)).raw == known.loc[row].raw


# ---------------------------------------------------------------------------------- what is shown


def test_page_and_numbers_are_written(
    world: dict[str, Path], tmp_path: Path, alerts: list[int]
) -> None:
    said = tinyfin(
        "explain",
        world["run"],
        world["data"],
        "--event",
        f"row:{alerts[0]}",
        "--out",
        tmp_path / "why.html",
    ).stdout
    found = Explanation.read(tmp_path / "why.json")
    jsonschema.validate(found.as_dict(), json.loads(SCHEMA.read_text()))
    page = (tmp_path / "why.html").read_text()
    for text in (*(reason.text for reason in found.reasons), found.changes[0].text[5:]):
        assert text in said
        assert text in page
    assert all(f.feature in page for f in found.features)
    assert not re.findall(r"(?:src|href)=\"(?!#)", page), "nothing is loaded from elsewhere"
    refused = tinyfin(
        "explain", world["run"], world["data"], "--event", 1, "--out", "why.json", code=3
    )
    assert "name it .html" in refused.output


def test_without_shap_the_error_says_how_to_get_it(
    world: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyfin.optional_packages.importlib.util.find_spec", lambda name: None)
    refused = tinyfin("explain", world["run"], world["data"], "--event", 1, code=6).output
    assert "the Python package shap is not installed, needed for Shapley values" in refused


def test_the_examples_of_the_page_run(
    world: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: pd.DataFrame,
    alerts: list[int],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(world["run"].parent)
    shutil.copy(world["data"], "town.parquet")
    lines = re.findall(r"^    tinyfin (score|explain) (runs/.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 4
    own = scores.set_index("input_row").loc[alerts[0]]
    time = f"{own.time:%Y-%m-%dT%H:%M:%S}"
    for verb, rest in lines:
        rest = rest.replace("row:9507", f"row:{alerts[0]}").replace("id:9508", f"id:{own.id}")
        rest = re.sub(r"T\d{7}@\S+", f"{own.terminal}@{time}", rest)
        tinyfin(verb, *rest.split("  #")[0].split())
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {}
    exec(code.replace("9507", str(alerts[0])), space)
    assert space["found"].raw == own.raw
