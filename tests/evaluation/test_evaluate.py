# SPDX-License-Identifier: Apache-2.0
"""Week after week: nothing later is learned, weeks are kept, COLD stands apart, gates gate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tinyfin import paths
from tinyfin.config import Config, load
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError, DataError, InputError
from tinyfin.evaluation import fold_scores
from tinyfin.evaluation.fold_scores import imported_files, score_fold
from tinyfin.evaluation.folds import Fold, folds_of
from tinyfin.pack.container import parse_pack
from tinyfin.training.calibration import fit_table, probability
from tinyfin.training.dataset import Dataset
from tinyfin.training.run_folder import open_run
from tinyfin.training.scoring import score

DAY_S = 86_400


@pytest.fixture(scope="module")
def stream(small: dict[str, Path]) -> tuple[Config, Transactions]:
    config = load(small["config"])
    return config, read(small["data"], config)


def facts_of(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "evaluation.json").read_text())
    return found


def test_every_scorer_stands_on_the_same_rows_and_says_how_sure_it_is(judged: Path) -> None:
    facts = facts_of(judged)
    assert facts["state"] == "warm"
    assert len(facts["parts"]) == 2
    for scorers in facts["means"].values():
        assert {"model_int8", "model_float", "amount", "rule_a", "rule_b"} <= set(scorers)
        assert "logistic_regression" in scorers
        assert len({m["rows"] for m in scorers.values()}) == 1
        assert {"calibration_error", "brier_skill", "above_threshold"} <= set(scorers["model_int8"])
        assert "calibration_error" not in scorers["amount"]
    for found in facts["pooled"]["expected_and_observed"].values():
        for e in (found["above_threshold"], found["overall"]):
            assert e["low"] <= e["independent_low"] < e["expected"] < e["independent_high"]
            assert e["independent_high"] <= e["high"]
            assert e["within"] == (e["low"] <= e["observed"] <= e["high"])
    for population, scorers in facts["intervals"].items():
        for name, spans in scorers.items():
            low, high = spans["average_precision"]
            mean = facts["means"][population][name]["average_precision"]
            assert low < high
            assert low - 0.1 < mean < high + 0.1
        assert scorers["model_int8"]["int8_leads_by"] == [0.0, 0.0]
    for part in facts["parts"]:
        assert part["decision"]["calibration"]["false_alerts_per_1000"] <= 1.0
        assert part["parity"]["differing_bytes"] == 0
    page = (judged / "evaluation.html").read_text()
    for word in ("Model card", "Data quality", "label delay, days", "out of scope", "rule A"):
        assert word in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    card = (judged / "MODEL_CARD.md").read_text()
    assert all(f"## {title}" in card for title in ("Intended use", "Out of scope", "Limits"))


def test_weeks_are_kept_and_a_failed_gate_exits_4(
    judged: Path, small: dict[str, Path], tmp_path: Path
) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text('[gate]\n"means.all.model_int8.average_precision" = {min = 0.999}\n')
    before = facts_of(judged)
    result = tinyfin("evaluate", judged, small["data"], "--weeks", "2", "--gate", gate, code=4)
    assert result.output.count("kept from before") == 2
    assert "the gate failed" in result.output
    assert "gate FAILS" in result.output
    again = tinyfin("evaluate", judged, "--weeks", "2", "--gate", gate, "--json", code=4)
    assert [row["ok"] for row in json.loads(again.stdout)["gate"]] == [False]
    after = facts_of(judged)
    assert after["means"] == before["means"]
    assert after["intervals"] == before["intervals"]
    assert "The gate fails" in (judged / "evaluation.html").read_text()
    gate.write_text('[gate]\n"int8_loss.all" = {max = 0.5}\n')
    assert "gate holds" in tinyfin("evaluate", judged, "--weeks", "2", "--gate", gate).output


def test_a_network_is_kept_when_only_what_follows_it_changed(
    judged: Path, small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "again"
    shutil.copytree(judged, run)
    code = fold_scores._code
    monkeypatch.setattr(fold_scores, "_code", lambda *of: code(*of) + "2" * ("quantiz" in of[0]))
    result = tinyfin("evaluate", run, small["data"], "--weeks", "1")
    assert result.output.count("the network is kept from before") == 1
    part = facts_of(run)["parts"][0]
    assert part["pack"] == facts_of(judged)["parts"][1]["pack"]
    assert part["populations"] == facts_of(judged)["parts"][1]["populations"]


def test_a_state_that_begins_with_the_week_is_named_cold_and_mixed_with_nothing(
    judged: Path, small: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "cold"
    shutil.copytree(judged, run)
    result = tinyfin("evaluate", run, small["data"], "--weeks", "1", "--cold")
    facts = facts_of(run)
    assert facts["state"] == "COLD"
    assert facts["means"] == {}
    assert "COLD" in result.output
    assert "COLD" in (run / "evaluation.html").read_text()
    assert facts["parts"][0]["cold_verdicts"] > 0
    warm = facts_of(judged)["parts"][1]["populations"]["all"]["model_int8"]
    cold = facts["cold"]["all"]["model_int8"]
    assert warm["rows"] == cold["rows"]
    assert warm["average_precision"] != cold["average_precision"]


def test_a_short_history_is_cold_by_itself(stream: tuple[Config, Transactions]) -> None:
    config, tx = stream
    first = int(tx.t_mono_s.min()) // DAY_S * DAY_S
    weeks = [first + 16 * DAY_S, first + 23 * DAY_S]
    assert [p.cold for p in folds_of(tx, config, protocol="prequential", weeks=weeks)] == [
        True,
        False,
    ]
    long = replace(config, evaluate=config.evaluate.model_copy(update={"warm": 30 * DAY_S}))
    assert all(p.cold for p in folds_of(tx, long, protocol="prequential", weeks=weeks))


def test_protocols_refuse_what_they_cannot_do(stream: tuple[Config, Transactions]) -> None:
    config, tx = stream
    with pytest.raises(DataError, match="ask for fewer"):
        folds_of(tx, config, protocol="prequential", weeks=30)
    with pytest.raises(ConfigError, match="halves"):
        folds_of(tx, config, protocol="halves", weeks=1)
    whitening = replace(config, model=config.model.model_copy(update={"family": "whitening"}))
    halves = folds_of(tx, whitening, protocol="halves", weeks=1)
    assert len(halves) == config.evaluate.halves
    for part in halves:
        learned = np.concatenate([part.split.fit, part.split.validation, part.split.calibration])
        assert not np.any(tx.label[learned] == 1)
        assert not set(learned) & set(part.split.test)
        assert np.count_nonzero(tx.label[part.split.test] == 1) == np.count_nonzero(tx.label == 1)
    assert not np.array_equal(halves[0].split.fit, halves[1].split.fit)


def made(config: Config, tx: Transactions, folder: Path) -> tuple[Fold, dict[str, bytes]]:
    """The last week's model of some transactions: all bytes that a terminal or a user gets."""
    part = folds_of(tx, config, protocol="prequential", weeks=1)[0]
    scored = score_fold(folder, Dataset(tx, ()), part, config, baselines=[])
    names = ("model.tfpack", "model.tflite", "model.keras", "maps.json", "program.bin")
    return part, {name: (scored.run.path / name).read_bytes() for name in names}


def test_labels_that_become_known_later_change_no_byte_of_a_weeks_model(
    stream: tuple[Config, Transactions], tmp_path: Path
) -> None:
    config, tx = stream
    part, first = made(config, tx, tmp_path / "a" / "week")
    later = tx.label_known_s.astype(np.int64) > part.split.until_s
    flipped = replace(tx, label=np.where(later, 1 - tx.label, tx.label).astype(np.int8))
    assert np.count_nonzero(flipped.label != tx.label) > 1000
    before = tx.t_mono_s.astype(np.int64) < part.split.until_s
    assert np.any(later & before)
    _, second = made(config, flipped, tmp_path / "b" / "another_name")
    assert first == second
    # a label known in time does change it, or the test would hold for any model
    one = int(part.split.fit[np.flatnonzero(tx.label[part.split.fit] == 1)[0]])
    known = tx.label.copy()
    known[one] = 0
    _, third = made(config, replace(tx, label=known), tmp_path / "c" / "week")
    assert all(first[name] != third[name] for name in ("model.tfpack", "model.tflite"))


@pytest.mark.parametrize("weights", [{"fraud_weight": 60.0}, {"amount_power": 1.0}], ids=str)
def test_class_weights_do_not_reach_the_probabilities(
    small: dict[str, Path],
    stream: tuple[Config, Transactions],
    tmp_path: Path,
    weights: dict[str, float],
) -> None:
    config, tx = stream
    options = {**config.model.options, **weights}
    heavy = replace(config, model=config.model.model_copy(update={"options": options}))
    part = folds_of(tx, heavy, protocol="prequential", weeks=1)[0]
    run = score_fold(tmp_path / "w", Dataset(tx, ()), part, heavy, baselines=[]).run
    slices = run.slices()
    # the calibration rows are the split's, each of them once
    assert np.array_equal(slices["calibration_label"], tx.label[part.split.calibration])
    from tinyfin.twin import Twin

    pack = parse_pack(run.pack_bytes())
    raw = Twin(pack.data).infer(slices["calibration"])[1]
    assert pack.calibration is not None
    share = float(np.mean(slices["calibration_label"] == 1))
    assert probability(pack.calibration, raw).mean() == pytest.approx(share, rel=0.02)
    # rows weighted like the fit's would be seen: frauds counted many times
    fraud = slices["calibration_label"] == 1
    copies = np.concatenate([raw, np.repeat(raw[fraud], 59)])
    labels = np.concatenate([slices["calibration_label"], np.ones(59 * fraud.sum(), np.int8)])
    bounds = (pack.calibration.raw[0], pack.calibration.raw[-1])
    weighted = probability(fit_table(copies, labels, bounds), raw).mean()
    assert weighted > 5 * share


def test_repack_changes_the_decision_and_nothing_else(run_copy: Path, tmp_path: Path) -> None:
    old = parse_pack((run_copy / "model.tfpack").read_bytes())
    result = tinyfin_json(f"repack {run_copy} --threshold 0.5 --decline-threshold 0.9")
    new = parse_pack((run_copy / "model.tfpack").read_bytes())
    assert new.verified
    assert (new.model_id, new.plan, new.calibration, new.state_layout) == (
        old.model_id,
        old.plan,
        old.calibration,
        old.state_layout,
    )
    assert new.pack_id != old.pack_id
    assert result["parent"] == old.pack_id.hex()
    assert new.decision is not None
    assert (new.decision.go_online_q32, new.decision.decline_q32) == (2**31, round(0.9 * 2**32))
    tinyfin("repack", run_copy, "--per-1000", "8")
    loose = parse_pack((run_copy / "model.tfpack").read_bytes()).decision
    tinyfin("repack", run_copy, "--per-terminal-week", "0.2")
    tight = parse_pack((run_copy / "model.tfpack").read_bytes()).decision
    assert loose is not None
    assert tight is not None
    assert loose.go_online_q32 < tight.go_online_q32
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "[decision]\ngo_online = 0.25\ncontrol_share = 0.1\n[decision.reasons]\namt_log = 9\n"
    )
    tinyfin("repack", run_copy, "--rules", rules)
    ruled = parse_pack((run_copy / "model.tfpack").read_bytes()).decision
    assert ruled is not None
    names = json.loads((run_copy / "run.json").read_text())["features"]["names"]
    assert ruled.reasons[names.index("amt_log")] == 9
    assert (ruled.go_online_q32, ruled.control_share_q16) == (2**30, round(6553.6))
    rules.write_text("[decision.reasons]\nno_such = 1\n")
    assert "no feature of that name" in tinyfin("repack", run_copy, "--rules", rules, code=3).output
    rules.write_text("[model]\nhidden = [3]\n")
    assert "[decision]" in tinyfin("repack", run_copy, "--rules", rules, code=3).output
    tinyfin("repack", run_copy, "--threshold", "0.5", "--target", "cortex-m4", code=2)


def test_a_run_compared_with_its_repack_ranks_the_same_and_decides_otherwise(
    small: dict[str, Path], run_copy: Path, tmp_path: Path
) -> None:
    tinyfin("repack", run_copy, "--per-1000", "20")
    changes = tmp_path / "changes.csv"
    found = tinyfin_json(f"compare {small['run']} {run_copy} {small['data']} --changes {changes}")
    assert found["figures"]["average_precision"]["difference"] == 0
    assert found["figures"]["average_precision"]["interval"] == [0, 0]
    assert found["figures"]["recall"]["difference"] >= 0
    assert found["changed"] > 0
    assert {(row["a"], row["b"]) for row in found["changes"]} == {("accept", "go_online")}
    assert len(changes.read_text().splitlines()) == found["changed"] + 1
    run = open_run(small["run"])
    later = np.datetime64(run.read_json("run.json")["split"]["until"])
    times = [line.split(",")[3] for line in changes.read_text().splitlines()[1:]]
    assert all(np.datetime64(t) >= later for t in times)


@pytest.mark.parametrize("weeks", ["0", "-3"])
def test_no_week_is_no_test(small: dict[str, Path], weeks: str) -> None:
    refused = tinyfin("evaluate", small["run"], f"--weeks={weeks}", code=2)
    assert "at least one week is tested" in refused.output


def test_a_run_is_named_by_its_folder(small: dict[str, Path], tmp_path: Path) -> None:
    counts = score(str(small["run"]), [small["data"]], tmp_path / "s.csv", extras=("id",))
    assert counts["transactions"] > 0
    with pytest.raises(InputError, match="--with 'ids': there are terminal, id"):
        score(small["run"], [small["data"]], tmp_path / "s.csv", extras=("ids",))


def test_a_kept_fold_depends_on_all_code_that_makes_it() -> None:
    """By what is imported, so that a new file is noticed without being listed."""
    root = paths.project_dir() / "tinyfin"
    learned = imported_files("tinyfin.training.fit", "tinyfin.training.families.mlp")
    for name in ("training/families/dense.py", "training/input_maps.py", "features/compiler.py"):
        assert root / name in learned
    assert root / "quantization/workflow.py" not in learned
    assert root / "pack/lowering.py" in imported_files("tinyfin.quantization.workflow")
    assert root / "cli/evaluate.py" not in imported_files("tinyfin.quantization.workflow")
