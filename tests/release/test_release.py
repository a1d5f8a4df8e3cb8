# SPDX-License-Identifier: Apache-2.0
"""``tinyfin release`` from end to end: what refuses a candidate, is allowed, is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tinyfin import simulator
from tinyfin.config import Simulate, load
from tinyfin.pack.container import open_pack, parse_pack, with_sections
from tinyfin.quantization.workflow import quantize
from tinyfin.registry.contents import gather
from tinyfin.release import judgement
from tinyfin.release.bounds import wilks
from tinyfin.release.paired import bins_of
from tinyfin.results.release import RULES, Release
from tinyfin.rollout.definition import Member, define
from tinyfin.rollout.policy import Policy
from tinyfin.training.workflow import train

AS_OF = "2026-01-01"
"""Long after the last transaction: every label is known and old enough."""
CONFIG = """
[features]
names = {names}

[model]
family = "{family}"
{options}

[train]
until = "2025-01-28"

[evaluate]
baselines = []
"""
NAMES = ["amt_log", "amt_dev", "gap_s", "rate_60", "entry_risk", "refund_ratio"]

ALL = [word for rule in RULES for word in ("--allow", rule)]


def relabelled(table: pa.Table, seed: int, share: float) -> pa.Table:
    """With the labels of a share of the frauds on other rows."""
    rng = np.random.default_rng(seed)
    label = table["label"].to_numpy().astype(np.int8)
    fraud, genuine = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    moved = rng.choice(fraud, int(share * len(fraud)), replace=False)
    label[moved], label[rng.choice(genuine, len(moved), replace=False)] = 0, 1
    at = table.schema.names.index("label")
    return table.set_column(at, "label", pa.array(label, table.schema.field("label").type))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``parent``, ``good`` (some labels differ), ``bad`` (most labels are wrong) and ``other``
    (other features), trained on ``town.parquet``; and ``data.parquet`` of another town."""
    folder = tmp_path_factory.mktemp("release")
    town = simulator.simulate(Simulate(terminals=12, days=25, seed=5))
    simulator.write(town, folder / "town.parquet")
    settings = Simulate.model_validate(
        {"terminals": 30, "days": 9, "seed": 6, "start": "2025-03-03"}
    )
    simulator.write(simulator.simulate(settings), folder / "data.parquet")
    for name, share in (("parent", 0.0), ("good", 0.02), ("bad", 0.9), ("other", 0.0)):
        other = name == "other"
        text = CONFIG.format(
            names=json.dumps(NAMES[:3] if other else NAMES),
            family="density" if other else "boosted",
            options="" if other else "options = {trees = 24, depth = 3}",
        )
        (folder / f"{name}.toml").write_text(text)
        data = town if not share else relabelled(town, 1, share)
        source = folder / "town.parquet"
        if share:
            source = folder / f"{name}.parquet"
            simulator.write(data, source)
        quantize(train([source], load(folder / f"{name}.toml"), name=name, out=folder))
    return folder


@pytest.fixture
def released(place: Path, tmp_path: Path) -> Callable[..., Release]:
    """Run the verb; what it wrote."""

    def run(name: str, *words: object, code: int = 0, parent: str = "parent") -> Release:
        pack = place / parent / "model.tfpack"
        arguments = ["--parent", pack, "--out", tmp_path, "--as-of", AS_OF, "-q"]
        tinyfin("release", place / name, place / "data.parquet", *arguments, *words, code=code)
        found = json.loads((tmp_path / "release.json").read_text())
        return Release.parse(found, "release.json")

    return run


def rules(found: Release) -> set[str]:
    return {one.rule for one in found.objections}


def test_a_good_candidate_is_released(
    released: Callable[..., Release], place: Path, tmp_path: Path
) -> None:
    found = released("good", *ALL, "--auto-trial", "--look", 200)
    assert found.state == "released"
    parent, new = (open_pack(p / "model.tfpack") for p in (place / "parent", tmp_path))
    old = open_pack(place / "good" / "model.tfpack")
    assert new.lineage["parent"] == parent.pack_id.hex()
    assert {tag: new.sections[tag] for tag in old.sections if tag != "LINE"} == {
        tag: old.sections[tag] for tag in old.sections if tag != "LINE"
    }
    bounds = new.probation
    assert bounds is not None
    assert bounds.parent == parent.model_id
    assert (bounds.auto_trial, bounds.auto_confirm) == (True, False)
    assert [look.events for look in bounds.looks] == [200]
    assert bounds.trial_events == 100
    assert found.sections["PROB"] == 64
    assert set(found.sections) >= {"PROB", "DRFT"}
    facts = found.probation
    assert facts is not None
    assert facts.shadow
    assert facts.refused_at_most == wilks(facts.terminals) > 0.001
    assert facts.extrapolated
    assert (facts.looks[0].far, facts.looks[0].psi_q10) >= facts.looks[0].largest[::2]
    assert [one.share for one in facts.sees] != [[0.0]] * 5
    assert facts.alerts_ratio is not None
    if facts.alerts_ratio > 1:
        assert facts.alerts_factor == pytest.approx(2 * facts.alerts_ratio, abs=1 / 256)
    campaign = define(
        "north",
        tmp_path / "model.tfpack",
        place / "parent",
        Policy(),
        [Member("0" * 15 + "1", "", "a" * 16)],
    )
    assert campaign.promise.alerts_ratio == facts.alerts_ratio
    assert "<svg" in (tmp_path / "release.html").read_text()
    assert "## Probation" in (tmp_path / "release.md").read_text()


def test_figures_are_those_of_score(
    released: Callable[..., Release], place: Path, tmp_path: Path
) -> None:
    """Flips, groups, average precision and cuts, from two files of scores."""
    found = released("bad", code=4)
    rows = []
    for name in ("parent", "bad"):
        path = tmp_path / f"{name}.scores.parquet"
        tinyfin("score", place / name, place / "data.parquet", "--out", path, "--with", "all", "-q")
        rows.append(pq.read_table(path).to_pylist())
    changed = Counter()
    groups = Counter()
    for a, b in zip(*rows, strict=True):
        if a["action"] != b["action"]:
            changed[a["action"], b["action"], a["label"]] += 1
            groups[f"{a['mcc']:04d}"] += 1
    for one in found.changes:
        assert (one.genuine, one.fraud) == tuple(changed[one.a, one.b, label] for label in (0, 1))
    assert found.changed == sum(changed.values()) > 0
    assert {one.value: one.changed for one in found.groups} == dict(groups.most_common(8))
    from sklearn.metrics import average_precision_score

    pair = found.figures["average_precision"]
    for value, scored in zip((pair.a, pair.b), rows, strict=True):
        labels, raws = ([row[key] for row in scored] for key in ("label", "raw"))
        assert value == pytest.approx(average_precision_score(labels, raws))
    assert found.labels is not None
    assert found.labels.average_precision.value == pytest.approx(pair.b)


def test_the_bounds_hold_in_a_plain_loop(
    released: Callable[..., Release], place: Path, tmp_path: Path
) -> None:
    """No terminal of DATA passes a bound; and a loop over files of scores finds its table."""
    released("good", *ALL)
    bounds = open_pack(tmp_path / "model.tfpack").probation
    assert bounds is not None
    found = []
    for name, cuts in (("parent", bounds.parent_cuts), ("good", bounds.own_cuts)):
        path = tmp_path / f"{name}.parquet"
        tinyfin("score", place / name, place / "data.parquet", "--out", path, "--with", "all", "-q")
        table = pq.read_table(path)
        found.append((table, bins_of(table["score_q32"].to_numpy().astype(np.uint32), cuts)))
    own = found[1][0].to_pylist()
    by_terminal: dict[str, list[int]] = {}
    for i, row in enumerate(own):
        if "COLD" not in row["flags"]:
            by_terminal.setdefault(row["terminal"], []).append(i)
    look = bounds.looks[-1]
    many = 0
    for rows in by_terminal.values():
        window = rows[: look.events]
        if len(window) == look.events:
            many += 1
            apart = np.abs(found[0][1][window] - found[1][1][window])
            assert (apart > 0).sum() <= look.differ
            assert (apart > 1).sum() <= look.far
    facts = Release.parse(json.loads((tmp_path / "release.json").read_text()), "x").probation
    assert facts is not None
    assert facts.terminals == many


def test_a_worse_candidate_is_refused_unless_that_is_allowed(
    released: Callable[..., Release], tmp_path: Path
) -> None:
    found = released("bad", code=4)
    assert found.state == "refused"
    assert "not-better" in rules(found)
    assert not (tmp_path / "model.tfpack").exists()
    assert "Refused" in (tmp_path / "release.html").read_text()
    broken = rules(found)
    assert sorted(broken) == sorted({one.rule for one in found.objections if not one.allowed})
    some = [word for rule in broken - {"not-better"} for word in ("--allow", rule)]
    assert released("bad", *some, code=4).state == "refused"
    found = released("bad", *some, "--allow", "not-better")
    assert found.state == "released"
    assert all(one.allowed for one in found.objections)
    allowed = open_pack(tmp_path / "model.tfpack").lineage["allowed"]
    assert sorted(set(allowed)) == sorted(broken)
    released("bad", code=4)
    assert not (tmp_path / "model.tfpack").exists()  # what was allowed once is not left behind


def test_without_the_rule_the_worse_candidate_would_pass(
    released: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above."""
    monkeypatch.setattr(judgement, "_by_labels", lambda *_: iter(()))
    assert "not-better" not in rules(released("bad", "--allow", "too-different"))


def test_another_feature_program_goes_on_trial_cold(released: Callable[..., Release]) -> None:
    found = released("other", *ALL, "--trial-events", 150)
    assert found.probation is not None
    assert not found.probation.shadow
    assert found.probation.trial is not None
    assert found.probation.trial.events == 150
    assert "too-different" not in rules(found)


def test_another_feature_program_is_judged_beside_its_own_state(
    released: Callable[..., Release], tmp_path: Path
) -> None:
    """The shadow begins cold with DATA, the parent does not: what terminals count of it are the
    bounds' windows."""
    both = ("--trial-events", 150, "--look", 100)
    cold = released("other", *ALL, *both).probation
    found = released("other", *ALL, *both, "--shadow-state").probation
    assert cold is not None
    assert found is not None
    assert found.shadow
    assert found.own_state
    assert found.trial is not None
    assert cold.trial is not None
    assert found.trial.largest[0] >= cold.trial.largest[0], "warm trials and cold ones"
    assert found.days > cold.days
    assert "a state of its own" in (tmp_path / "release.md").read_text()


def test_a_parent_with_the_same_program_shares_its_state(released: Callable[..., Release]) -> None:
    found = released("good", *ALL, "--look", 200, "--shadow-state").probation
    assert found is not None
    assert found.shadow
    assert not found.own_state


def test_the_first_release_has_no_probation(place: Path, tmp_path: Path) -> None:
    found = tinyfin_json(
        "release",
        place / "parent",
        place / "data.parquet",
        "--out",
        tmp_path,
        "--as-of",
        AS_OF,
        "--allow",
        "over-budget",
        "--allow",
        "not-calibrated",
        "--no-levels",
    )
    assert "probation" not in found
    assert "parent" not in found
    pack = open_pack(tmp_path / "model.tfpack")
    assert pack.probation is None
    assert pack.drift is not None
    assert pack.levels is None
    assert pack.lineage["parent"] is None


def test_the_parents_security_counter_is_not_gone_under(
    released: Callable[..., Release], place: Path, tmp_path: Path
) -> None:
    (place / "counted").mkdir()
    old = open_pack(place / "parent" / "model.tfpack")
    (place / "counted" / "model.tfpack").write_bytes(with_sections(old, {}, security_counter=7))
    assert released("good", *ALL, parent="counted").candidate.security_counter == 7
    asked = released("good", *ALL, "--security-counter", 9, parent="counted")
    assert asked.candidate.security_counter == 9


def test_a_key_signs_the_release(
    released: Callable[..., Release], tmp_path: Path, place: Path
) -> None:
    tinyfin("keygen", tmp_path / "release.key")
    found = released("good", *ALL, "--key", tmp_path / "release.key")
    assert (tmp_path / "public.key").is_file()
    held = parse_pack(gather(place / "good", [])[0][1])
    assert (held.pack_id.hex(), held.development) == (found.run_pack, True)
    (place / "good" / "release").symlink_to(tmp_path)
    kept = gather(place / "good")
    held = parse_pack(kept[0][1])
    assert (held.pack_id.hex(), held.development) == (found.candidate.pack_id, False)
    assert f"{held.key_id:08x}" == found.candidate.signed_by
    page = dict(kept)["release.html"].decode()
    assert found.candidate.signed_by in page
    assert held.pack_id.hex()[:16] in page
    (place / "good" / "release").unlink()
    assert not open_pack(tmp_path / "model.tfpack").development


def test_what_cannot_be_judged_is_an_error(place: Path, tmp_path: Path) -> None:
    def said(*words: object, data: Path = place / "data.parquet", code: int = 3) -> str:
        done = tinyfin("release", place / "good", data, "--out", tmp_path, *words, code=code)
        assert not (tmp_path / "model.tfpack").exists()
        return done.output

    parent = place / "parent" / "model.tfpack"
    table = pq.read_table(place / "data.parquet")
    bare, one, early = (tmp_path / f"{name}.parquet" for name in ("bare", "one", "early"))
    pq.write_table(table.drop_columns(["label", "scenario"]), bare)
    names = table["terminal"].to_pylist()
    pq.write_table(table.filter(pa.array([name == names[0] for name in names])), one)
    town = pq.read_table(place / "town.parquet")
    pq.write_table(town.slice(0, 8000), early)
    assert "no-labels: no label known" in said("--parent", parent, data=bare, code=4)
    assert "1 terminal has a whole window" in said("--parent", parent, "--as-of", AS_OF, data=one)
    own = place / "good" / "model.tfpack"
    assert "decides as the pack of" in said("--parent", own)
    assert "No such file" in said("--parent", tmp_path / "none.tfpack")
    assert f"{bare}: offset 0: these bytes are not a tinyfin pack" in said("--parent", bare)
    assert "--margin nan must be 0 to 1" in said("--parent", parent, "--margin", "nan")
    unbounded = ("--auto-confirm", "--trial-events", 0)
    assert "a trial of 0 events has no bounds" in said("--parent", parent, *unbounded)
    assert "was trained on this file" in said("--parent", parent, data=place / "good.parquet")
    assert "was trained on this file" in said("--parent", parent, data=place / "town.parquet")
    assert "of the same terminal and second" in said("--parent", parent, data=early)
    assert "0 terminals have a whole window" in said("--parent", parent, "--look", 20_000)
    many = [word for n in (10, 20, 30, 40, 50) for word in ("--look", n)]
    assert "5 looks; there are 1 to 4" in said("--parent", parent, *many)


def test_a_parent_of_another_schema_is_refused(
    place: Path, tiny_pack: Path, tmp_path: Path
) -> None:
    done = tinyfin("release", place / "good", place / "data.parquet", "--parent", tiny_pack, code=3)
    assert "reads other fields (schema 'till') than the candidate (schema 'payment')" in done.output


@pytest.fixture
def tiny_pack(tmp_path: Path) -> Path:
    from tests.pack.conftest import tiny

    arguments: dict[str, Any] = tiny.__wrapped__()  # type: ignore[attr-defined]  # a fixture
    from tinyfin.pack.container import build_pack

    path = tmp_path / "tiny.tfpack"
    path.write_bytes(build_pack(**arguments))
    return path
