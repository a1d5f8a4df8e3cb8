# SPDX-License-Identifier: Apache-2.0
"""The search trains what fits, keeps what it tried, and takes the best of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cli import tinyfin
from tinyfin import search as searching
from tinyfin.config import Config, Model, Search, load
from tinyfin.errors import BudgetError, ConfigError, ToolError
from tinyfin.measure.run_costs import SMALLER, Cost, largest_text, pack_parts
from tinyfin.pack.container import parse_pack
from tinyfin.progress import Stage
from tinyfin.quantization.workflow import quantize
from tinyfin.search import candidates, search
from tinyfin.training import workflow as training
from tinyfin.training.families import Problem, family
from tinyfin.training.run_folder import RunFolder
from tinyfin.training.split import Split


def configured(small: dict[str, Path], folder: Path, text: str) -> Config:
    path = folder / "tinyfin.toml"
    path.write_text(small["config"].read_text() + "\n[search]\n" + text)
    return load(path)


def by_parameters(run: RunFolder, _: Search) -> Cost:
    """A cost that grows with the network, and depends on nothing but its shape."""
    count = run.read_json("run.json")["model"]["parameters"]
    return Cost(10_000 + count, 5_000, 10 * count)


def tried(run: RunFolder) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run.read_json("trials.json")["trials"]
    return found


def test_what_is_too_large_is_never_trained_and_the_best_is(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(
        small,
        tmp_path,
        "hidden = [[1], [12], [200]]\nlearning_rate = [1e-6, 5e-3]\nmax_instructions = 8000\n",
    )
    shapes: list[int] = []

    def cost(run: RunFolder, section: Search) -> Cost:
        shapes.append(run.read_json("run.json")["model"]["parameters"])
        return by_parameters(run, section)

    monkeypatch.setattr(searching, "cost_of", cost)
    run = search([small["data"]], config, name="found", out=tmp_path)
    assert len(shapes) == len(set(shapes)) == 3, "a shape is measured once"
    trials = tried(run)
    assert [t["model"]["hidden"] for t in trials] == [[1], [1], [12], [12], [200], [200]]
    for trial in trials:
        large = trial["model"]["hidden"] == [200]
        assert (trial["average_precision"] is None) == large
        assert bool(trial["over"]) == large
    best = max(trials, key=lambda t: t["average_precision"] or 0)
    assert run.read_json("trials.json")["best"] == best["number"]
    assert best["model"]["learning_rate"] == 5e-3, "one that does not learn is not the best"
    assert run.config().model.hidden == best["model"]["hidden"]
    assert run.config().model.epochs == 3, "what was not searched stays"
    facts = run.read_json("run.json")["model"]
    assert max(facts["validation_average_precision"]) == pytest.approx(best["average_precision"])
    assert run.file("metrics.json").is_file()
    assert not (run.path / "shape").exists()


def test_nothing_that_fits_is_an_error_that_says_by_how_much(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "cost_of", by_parameters)
    config = configured(small, tmp_path, 'hidden = [[4]]\nmax_flash = "1k"\n')
    with pytest.raises(BudgetError, match=r"fits cortex-m4.*flash 1\d,\d+ of 1,024"):
        search([small["data"]], config, name="found", out=tmp_path)
    kept = json.loads((tmp_path / "found" / "trials.json").read_text())["trials"]
    assert kept[0]["over"]


def test_a_trial_that_fails_is_kept_and_the_others_go_on(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(small, tmp_path, "hidden = [[5], [6]]\n")

    def cost(run: RunFolder, section: Search) -> Cost:
        if run.read_json("run.json")["model"]["hidden"] == [5]:
            raise ToolError("the compiler is gone")
        return by_parameters(run, section)

    monkeypatch.setattr(searching, "cost_of", cost)
    run = search([small["data"]], config, name="found", out=tmp_path)
    first, second = tried(run)
    assert first["failed"] == "the compiler is gone"
    assert second["average_precision"] > 0
    assert run.read_json("trials.json")["best"] == 2


def test_no_label_of_calibration_or_test_takes_part(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(small, tmp_path, "hidden = [[3]]\n")
    monkeypatch.setattr(searching, "cost_of", by_parameters)
    honest = training.part

    def values(name: str, changed: bool) -> list[float]:
        def part(run: Any, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            settled, split = honest(run, dataset, *args, **kwargs)
            if changed:
                rows = np.concatenate([split.calibration, split.test])
                dataset.tx.label[rows] = 1 - np.maximum(dataset.tx.label[rows], 0)
            return settled, split

        monkeypatch.setattr(training, "part", part)
        monkeypatch.setattr(searching, "finish", lambda *args, **kwargs: None)
        run = search([small["data"]], config, name=name, out=tmp_path)
        return [trial["average_precision"] for trial in tried(run)]

    # the labels were read into features before they were turned: only learning could see them
    assert values("as_it_is", False) == values("turned", True)


@pytest.mark.parametrize("name", ["boosted", "distilled"])
def test_no_trial_is_fitted_on_the_rows_that_rank_it(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = configured(small, tmp_path, f'family = ["{name}"]\n')
    chosen = family(name)
    assert chosen.takes_validation(config.model.model_copy(update={"family": name}))
    splits: list[Split] = []
    problems: list[Problem] = []
    part, fit = training.part, type(chosen).fit

    def parted(*args: Any, **kwargs: Any) -> tuple[Config, Split]:
        splits.append((found := part(*args, **kwargs))[1])
        return found

    def fitted(self: Any, problem: Problem, *args: Any) -> Any:
        problems.append(problem)
        return fit(self, problem, *args)

    monkeypatch.setattr(searching, "cost_of", by_parameters)
    monkeypatch.setattr(training, "part", parted)
    monkeypatch.setattr(type(chosen), "fit", fitted)
    search([small["data"]], config, name=name, out=tmp_path)
    trial, final = problems[-2:]
    split = splits[0]
    assert len(trial.inputs) == len(split.fit)
    assert len(final.inputs) == len(split.fit) + len(split.validation)
    assert not len(trial.validation_inputs)
    assert not len(final.validation_inputs)


def test_candidates_are_all_combinations_or_so_many_of_them() -> None:
    model = Model(options={"genuine_rows": 6000})
    wide = Search(
        hidden=[[4], [8]], learning_rate=[1e-3, 1e-2], options={"fraud_weight": [1.0, 2.0]}
    )
    found = candidates(wide, model)
    assert len(found) == 8
    assert found[0].model["options"] == {"genuine_rows": 6000, "fraud_weight": 1.0}
    some = candidates(wide.model_copy(update={"trials": 3}), model)
    assert len(some) == 3
    assert all(one in found for one in some)
    assert some == candidates(wide.model_copy(update={"trials": 3}), model)


def test_features_and_capacities_are_tried_with_networks(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is what `train` makes of the best trial's configuration."""
    few = ["hour_of_day"]
    config = configured(
        small, tmp_path, f'hidden = [[6]]\nnames = [{few}, "auto"]\nmax_state = ["6k", "16k"]\n'
    )
    states: list[int] = []

    def cost(run: RunFolder, section: Search) -> Cost:
        facts = run.read_json("run.json")
        states.append(facts["features"]["state_bytes"])
        return Cost(1, states[-1], None)

    monkeypatch.setattr(searching, "cost_of", cost)
    run = search([small["data"]], config, name="found", out=tmp_path)
    trials = tried(run)
    assert [t["features"] for t in trials] == [
        {"names": names, "max_state": size} for names in (few, "auto") for size in (6144, 16384)
    ]
    assert all(state <= size for state, size in zip(states, (6144, 16384) * 2, strict=True))
    best = run.read_json("trials.json")["best"]
    assert trials[best - 1]["features"]["names"] == "auto", "an hour alone finds no fraud"
    chosen = run.config().features
    assert len(chosen.names) > 10
    text = config.path.read_text() if config.path else ""
    size = trials[best - 1]["features"]["max_state"]
    wanted = text.replace('names = "default"', f'names = "auto"\nmax_state = {size}').replace(
        "hidden = [12, 8]", "hidden = [6]"
    )
    (tmp_path / "wanted.toml").write_text(wanted)
    again = training.train([small["data"]], load(tmp_path / "wanted.toml"), name="x", out=tmp_path)
    assert again.config().features.capacities == chosen.capacities
    assert np.array_equal(again.slices()["test_float"], run.slices()["test_float"])


def test_features_that_are_none_are_named_before_anything_is_read(
    small: dict[str, Path], tmp_path: Path
) -> None:
    config = configured(small, tmp_path, 'names = ["auto", ["amt_lag"]]\n')
    with pytest.raises(ConfigError, match=r"amt_lag.*amt_log"):
        search([tmp_path / "not there.parquet"], config, name="found", out=tmp_path)


@pytest.mark.parametrize("changed", [False, True])
def test_a_search_that_was_cut_off_goes_on(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """With the trials that it had, unless something else is searched now."""
    lists = "hidden = [[2], [3], [4]]\n"
    config = configured(small, tmp_path, lists)
    built: list[list[int]] = []

    def cost(run: RunFolder, section: Search) -> Cost:
        hidden = run.read_json("run.json")["model"]["hidden"]
        if hidden == [4] and [4] not in built:
            built.append([4])
            raise KeyboardInterrupt
        built.append(hidden)
        return by_parameters(run, section)

    monkeypatch.setattr(searching, "cost_of", cost)
    with pytest.raises(KeyboardInterrupt):
        search([small["data"]], config, name="found", out=tmp_path)
    assert not (tmp_path / "found").exists()
    kept = tmp_path / "found.trials.json"
    assert len(json.loads(kept.read_text())["trials"]) == 2
    built.remove([4])
    cut = list(built)
    if changed:
        config = configured(small, tmp_path, lists + "learning_rate = [4e-3]\n")
    built.append([4])
    notes: list[str] = []
    run = search([small["data"]], config, name="found", out=tmp_path, note=notes.append)
    assert cut == [[2], [3]]
    assert built[3:] == ([[2], [3], [4]] if changed else [[4]])
    said = "tried again" if changed else "goes on with the 2 trials"
    assert any(said in text for text in notes)
    assert [t["number"] for t in tried(run)] == [1, 2, 3]
    assert not kept.exists()


def test_a_wrong_key_or_size_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tinyfin.toml"
    path.write_text('[search]\nmax_ram = "8 apples"\n')
    with pytest.raises(ConfigError, match=r"search.max_ram.*32k or 1M"):
        load(path)


def test_the_command_measures_on_the_target(small: dict[str, Path], tmp_path: Path) -> None:
    """With the features that the data can feed: the packs that are built know them too."""
    config = configured(small, tmp_path, 'hidden = [[4], [600, 300]]\nmax_flash = "100k"\n')
    assert config.path is not None
    config.path.write_text(config.path.read_text().replace('[features]\nnames = "default"\n', ""))
    tinyfin(f"train {small['data']} --config {config.path} --search --out {tmp_path} --name found")
    fits, over = tried(RunFolder(tmp_path / "found"))
    assert 20_000 < fits["cost"]["flash_bytes"] < 100 << 10 < over["cost"]["flash_bytes"]
    assert 5_000 < fits["cost"]["ram_bytes"] <= over["cost"]["ram_bytes"]
    assert fits["cost"]["instructions"] is None, "nothing limits them: they are not counted"
    assert over["average_precision"] is None


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"card table": 9000, "scratch of the network": 90},
            "the largest part is the card table with 9,000 B: make it smaller with [features] "
            "card_sets",
        ),
        ({"label ring": 700, "card table": 600}, "the label ring with 700 B: make it smaller with"),
        (
            {"scratch of the network": 9000, "card table": 90},
            "with [search] hidden: narrower layers",
        ),
        (
            {"firmware's stack": 800, "pending table": 70},
            "firmware's stack with 800 B, which no key changes; then the pending table with 70 B: "
            "make",
        ),
    ],
)
def test_the_largest_part_and_its_key_are_named(parts: dict[str, int], said: str) -> None:
    assert said in largest_text(parts)


def test_nothing_that_fits_names_what_fills_the_memory(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(small, tmp_path, 'hidden = [[4], [9]]\nmax_ram = "1k"\n')

    def cost(run: RunFolder, section: Search) -> Cost:
        quantize(run)
        flash, ram = pack_parts(run)
        program = parse_pack(run.pack_bytes())
        assert sum(flash.values()) == len(program.data)
        assert {*flash, *ram} <= set(SMALLER)
        return Cost(10_000, sum(ram.values()), None, {"flash": flash, "RAM with stack": ram})

    monkeypatch.setattr(searching, "cost_of", cost)
    with pytest.raises(BudgetError) as told:
        search([small["data"]], config, name="found", out=tmp_path)
    assert "the largest part is the card table with" in str(told.value)
    assert "[features] card_sets, card_ways or card_labels" in str(told.value)


def test_validation_rows_without_fraud_are_named_once_and_no_ap_is_shown(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = training.part

    def part(run: Any, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        settled, split = honest(run, dataset, *args, **kwargs)
        dataset.tx.label[split.validation] = 0
        return settled, split

    shown: list[str] = []
    at = Stage.at

    def seen(self: Stage, done: int, total: int, text: str) -> None:
        shown.append(text)
        at(self, done, total, text)

    monkeypatch.setattr(training, "part", part)
    monkeypatch.setattr(Stage, "at", seen)
    notes: list[str] = []
    training.train(
        [small["data"]], load(small["config"]), name="x", out=tmp_path, note=notes.append
    )
    assert sum("validation rows hold no fraud" in text for text in notes) == 1
    epochs = [text for text in shown if text.startswith("epochs")]
    assert epochs
    assert all("loss" in text and "nan" not in text for text in epochs)
