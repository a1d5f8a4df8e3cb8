# SPDX-License-Identifier: Apache-2.0
"""``tinyfin retrain``: the whole chain as docs/retraining.md has it, what stops it, and its
guards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cli import tinyfin
from tests.support.process import ROOT
from tinyfin import simulator
from tinyfin.config import Simulate, load
from tinyfin.data.readers import read
from tinyfin.fleet.lake import day_number
from tinyfin.fleet.requests import Cause, record, requests_of
from tinyfin.pack.container import open_pack
from tinyfin.pack.signing import load_key
from tinyfin.registry.registry import Registry
from tinyfin.results.retraining import Retraining
from tinyfin.retraining.guards import _most, capped, control_rows
from tinyfin.training.run_folder import open_run
from tinyfin.training.split import split_by_time

pytestmark = pytest.mark.xdist_group("retraining")

PAGE = (ROOT / "docs" / "retraining.md").read_text("utf-8")
CONFIG = """
[features]
names = ["amt_log", "amt_dev", "gap_s", "rate_60", "entry_risk", "refund_ratio"]

[model]
family = "boosted"
options = {trees = 24, depth = 3}

[train]
until = "2025-01-26"

[decision]
control_share = 0.05

[evaluate]
baselines = []
protocol = "holdout"
delays = []
"""
POLICY = """
approvals = 1
validation = false
own_approval = true
development = true

[[persons]]
name = "machine"
key = "machine.key.pub"
"""
RULES = ("not-better", "not-calibrated", "over-budget", "too-different", "no-labels")
ALLOWED = [word for rule in RULES for word in ("--allow", rule)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder with transactions, the run ``parent``, and a registry with a request for another
    one."""
    folder = tmp_path_factory.mktemp("retrain")
    towns = {
        "january": {"terminals": 12, "days": 25, "seed": 5},
        "weeks": {"terminals": 12, "days": 27, "seed": 5},
        "others": {"terminals": 30, "days": 9, "seed": 6, "start": "2025-03-03"},
    }
    for name, given_ in towns.items():
        made = simulator.simulate(Simulate.model_validate(given_))
        simulator.write(made, folder / f"{name}.parquet")
    (folder / "tinyfin.toml").write_text(CONFIG)
    (folder / "policy.toml").write_text(POLICY)
    (folder / "gate.toml").write_text('[gate]\n"cold.all.model_int8.roc_auc" = {min = 0.5}\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tinyfin("train january.parquet --config tinyfin.toml --name parent")
        tinyfin("quantize runs/parent")
        tinyfin("keygen machine.key --kind person")
        tinyfin("registry init policy.toml --key machine.key")
        tinyfin("registry add runs/parent --key machine.key")
        registry, key = Registry("registry"), load_key("machine.key", "person")
        pack = open_pack("runs/parent/model.tfpack")
        [event] = record(registry, pack, {Cause.DRIFT: "amt_log in all"}, 9200, key)
    return SimpleNamespace(folder=folder, pack=pack, request=event)


def said(place: SimpleNamespace, *words: object, code: int = 0) -> str:
    data = [] if "--data" in words else ["weeks.parquet"]
    given_ = ["--parent", "runs/parent", "--judge-on", "others.parquet", "--person", "machine.key"]
    asked = [word for word in words if word != "--data"]
    return tinyfin("retrain", *data, *given_, "--cause", "a test", *asked, code=code).output


def test_the_page(place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of docs/retraining.md, from the request to the candidate in the registry."""
    monkeypatch.chdir(place.folder)
    [script] = re.findall(r"```sh\n(tinyfin retrain.*?)```", PAGE, re.DOTALL)
    script = script.replace("--request 4", f"--request {place.request.number}")
    script = script.replace("tinyfin retrain", f"tinyfin retrain {' '.join(ALLOWED)}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", script],
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = open_run("runs/second")
    found = run.read(Retraining)
    name = f"{place.request.number}:{place.request.digest}"
    assert (found.request, found.cause) == (name, "drift")
    assert found.parent == place.pack.pack_id.hex()
    assert not found.without_control
    assert found.control_rows > 100
    assert len(found.influence) == 3
    pack = open_pack(run.path / "release" / "model.tfpack")
    assert pack.lineage["request"] == name
    assert pack.lineage["parent"] == place.pack.pack_id.hex()
    assert pack.probation is not None
    bins = pack.lineage["score_bins"]
    assert pack.drift is not None
    assert pack.decision is not None
    assert pack.decision.alert_q32 in pack.drift.score.edges
    assert len(bins["rows"]) == pack.drift.score.bins
    registry = Registry("registry")
    [request] = requests_of(registry)
    assert request.answer is not None
    assert request.answer.detail["pack"] == pack.pack_id.hex()
    names = registry.store.layers(registry.find(pack.pack_id.hex()).manifest)
    assert {"retraining.json", "release.json", "evaluation.json"} <= set(names)
    assert registry.state().entries[pack.pack_id.hex()].standing != "released"
    assert registry.verify()[1] == []


def test_the_score_bins_are_those_of_score(place: SimpleNamespace, tmp_path: Path) -> None:
    """After the test above: rows and mean scores of the release, from a file of scores."""
    import pyarrow.parquet as pq

    run = place.folder / "runs" / "second"
    pack = open_pack(run / "release" / "model.tfpack")
    out = tmp_path / "scores.parquet"
    tinyfin("score", run, place.folder / "others.parquet", "--out", out, "--with", "all", "-q")
    rows = [row for row in pq.read_table(out).to_pylist() if "COLD" not in row["flags"]]
    assert pack.drift is not None
    edges = [-1, *pack.drift.score.edges, 1 << 32]
    for i, (low, high) in enumerate(pairwise(edges)):
        of = [row["score_q32"] for row in rows if low <= row["score_q32"] < high]
        assert pack.lineage["score_bins"]["rows"][i] == len(of)
        assert abs(pack.lineage["score_bins"]["mean_q32"][i] - sum(of) / max(len(of), 1)) <= 1


def test_steps_that_stop_it(place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the words and the code of the step; nothing comes into the registry."""
    monkeypatch.chdir(place.folder)
    head = Registry("registry").state().head
    assert (
        "give --request or --cause"
        in tinyfin(
            "retrain weeks.parquet --run x --parent runs/parent --judge-on others.parquet "
            "--person machine.key",
            code=2,
        ).output
    )
    pack = "runs/parent/model.tfpack"
    assert "give --config" in said(place, "--run", "x", "--parent", pack, code=2)
    assert "is no open request" in said(place, "--run", "x", "--request", 99, code=3)
    assert "is no figure of" in said(place, "--run", "x", "--gate", bad_gate("none"), code=3)
    assert not Path("runs/x").exists()
    gate = bad_gate("cold.all.model_int8.roc_auc")
    failed = said(place, "--run", "gated", "--influence", 0, "--gate", gate, code=4)
    assert "the gate failed: cold.all.model_int8.roc_auc is" in failed
    assert open_run("runs/gated").pack.is_file()
    refused = said(place, "--run", "refused", "--influence", 0, code=4)
    assert "runs/refused: not released: " in refused
    assert Registry("registry").state().head == head


def bad_gate(name: str) -> str:
    Path("bad.toml").write_text(f'[gate]\n"{name}" = {{min = 1.5}}\n')
    return "bad.toml"


def test_control_events_are_wanted(
    place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A parent without them is refused before anything is trained; the control lets it through."""
    monkeypatch.chdir(place.folder)
    config = CONFIG.replace("control_share = 0.05", "control_share = 0.0")
    Path("bare.toml").write_text(config)
    if not Path("runs/bare").exists():
        tinyfin("train january.parquet --config bare.toml --name bare")
        tinyfin("quantize runs/bare")
    words = ["--run", "blind", "--parent", "runs/bare", "--influence", 0, *ALLOWED]
    assert "is a control event of pack" in said(place, *words, code=3)
    assert not Path("runs/blind").exists()
    said(place, *words, "--without-control", "--config", "tinyfin.toml")
    found = open_run("runs/blind").read(Retraining)
    assert (found.control_rows, found.without_control, found.request) == (0, True, None)


def test_control_rows_are_those_of_a_loop(place: SimpleNamespace) -> None:
    """By docs/formats/pack.md, in plain Python; declined ones do not count."""
    from tinyfin.oracle.decision import mix

    tx = read(place.folder / "weeks.parquet", load(place.folder / "tinyfin.toml"))
    decision = place.pack.decision
    until_s = 24 * 3600 * (day_number(date(2025, 1, 26)))
    wanted = sum(
        mix(int(id_)) // 2**48 < decision.control_share_q16 and t < until_s and known <= until_s
        for id_, t, known in zip(tx.id, tx.t_mono_s, tx.label_known_s, strict=True)
    )
    assert control_rows(tx, decision, until_s) == wanted > 100
    declined = tx.action.copy()
    declined[:] = 2
    assert control_rows(replace(tx, action=declined), decision, until_s) == 0


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=30), st.integers(1, 100))
def test_the_cap_is_the_largest_that_holds(counts: list[int], percent: int) -> None:
    """Against all caps, one after the other."""
    share = max(percent / 100, min(3 / max(sum(c > 0 for c in counts), 1), 1.0))
    found = _most(np.array(counts), share)
    good = [
        most for most in range(max(counts) + 1) if most <= share * sum(min(c, most) for c in counts)
    ]
    assert found == max(max(good), 1)


def test_a_terminal_that_floods_gives_no_more_than_its_share(place: SimpleNamespace) -> None:
    tx = read(place.folder / "weeks.parquet", load(place.folder / "tinyfin.toml"))
    split = split_by_time(tx, until_s=int(np.quantile(tx.t_mono_s, 0.9)))
    terminal = tx.terminal.copy()
    terminal[np.arange(len(tx)) % 3 > 0] = 0  # two thirds of the rows
    flooded = replace(tx, terminal=terminal)
    kept, facts = capped(flooded, split, seed=1)
    for rows in (kept.fit, kept.validation):
        own = flooded.terminal[rows][tx.label[rows] != 1]
        assert np.mean(own == 0) <= facts.share + 0.02
    assert facts.share == pytest.approx(3 / 12)
    assert facts.rows > len(split.fit) / 4
    assert np.mean(flooded.terminal[split.fit] == 0) > 0.5
    assert np.all(np.diff(tx.t_mono_s[kept.fit].astype(np.int64)) >= 0)
    again, _ = capped(flooded, split, seed=1)
    assert np.array_equal(again.fit, kept.fit)
