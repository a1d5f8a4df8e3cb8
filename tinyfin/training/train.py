# SPDX-License-Identifier: Apache-2.0
"""From files of transactions to a run folder with a float model, its metrics and pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.events import event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.features.compiler import Program, compile_program
from tinyfin.pack.maps import map_inputs
from tinyfin.training.baselines import rule_scores
from tinyfin.training.calibration import fit_table, probability
from tinyfin.training.cuts import learn_cuts
from tinyfin.training.families import Problem, family
from tinyfin.training.maps import fit_maps
from tinyfin.training.metrics import evaluate
from tinyfin.training.populations import known_cards_removed
from tinyfin.training.run import RunFolder, file_facts, new_run
from tinyfin.training.split import Split, split_by_time

__all__ = ["compute_features", "float_raw", "table_of", "train"]

Note = Callable[[str], None]
Progress = Callable[[int, int, str], None]

LOGIT_STEPS = 4096
"""Whole-number steps per unit of logit when a float score is calibrated like an integer one."""
REPRESENTATIVE_ROWS = 4000


def compute_features(
    tx: Transactions, config: Config, program: Program, *, note: Note = lambda _: None
) -> npt.NDArray[np.int16]:
    """Features int16[n, F] of every transaction, by the terminal's own engine, state warm.

    Labels reach the engine as notices only, when they become known.
    """
    from tinyfin.pack.container import build_pack
    from tinyfin.twin import Twin

    stream = event_stream(tx, config.data.notices)
    note(f"features: {len(stream)} events of {len(tx.terminals)} terminals through the engine")
    twin = Twin(build_pack(config.schema, program), terminals=max(1, len(tx.terminals)))
    return twin.run(tx, stream).features


def train(
    paths: Sequence[str | Path],
    config: Config,
    *,
    name: str,
    out: str | Path = "runs",
    until_s: int | None = None,
    seed: int | None = None,
    skip_bad_rows: str | Path | None = None,
    note: Note = lambda _: None,
    progress: Progress = lambda done, of, text: None,
) -> RunFolder:
    """Train the model that ``config`` describes on the files, and fill ``out/name``.

    ``until_s`` and ``seed`` take the place of the configuration's. Raises DataError, ConfigError,
    InputError.
    """
    from tinyfin.data.readers import read

    model = config.model if seed is None else config.model.model_copy(update={"seed": seed})
    config = replace(config, model=model)
    chosen = family(model.family)
    program = compile_program(config.features, config.schema, **config.features.capacities)
    run = new_run(out, name, config)
    tx = read(paths, config, skip_bad_rows=skip_bad_rows, progress=note)
    split = split_by_time(
        tx,
        since_s=config.train.since,
        until_s=config.train.until if until_s is None else until_s,
        test_until_s=config.train.test_until,
        shares=(config.train.train, config.train.validation, config.train.test),
    )
    summary = split.summary(tx.label)
    note(
        f"split: fit {summary['fit']}, calibration {summary['calibration']}, "
        f"test {summary['test']}; {split.immature} immature rows refused"
    )
    config, cuts = learn_cuts(config, tx, split.fit, note=note)
    if cuts:
        program = compile_program(config.features, config.schema, **config.features.capacities)
        run.add_cuts(cuts)
    features = compute_features(tx, config, program, note=note)
    maps = fit_maps(features[split.fit], tx.label[split.fit])
    inputs = {
        part: map_inputs(maps, features[getattr(split, part)])
        for part in ("fit", "calibration", "test")
    }
    fitted = chosen.fit(
        Problem(
            inputs["fit"], tx.label[split.fit], inputs["calibration"],
            tx.label[split.calibration], program.feature_names,
        ),
        model,
        progress,
    )
    slices = _slices(tx, split, inputs, model.seed)
    slices["medians"] = np.median(features[split.fit], axis=0).astype(np.int16)
    for part in ("calibration", "test"):
        slices[f"{part}_float"] = fitted.score(inputs[part])
    fitted.keras_model.save(run.path / "model.keras")
    (run.path / "program.bin").write_bytes(program.payload)
    run.write_maps(maps, program.feature_names)
    np.savez_compressed(run.path / "slices.npz", **slices)  # type: ignore[arg-type]
    run.write_json("run.json", _facts(run, paths, tx, config, program, fitted, summary))
    run.write_json("metrics.json", table_of(slices, tx.scenario or ()))
    draw_run(run, slices)
    return run


def float_raw(score: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Float logits as whole numbers, so that they are calibrated as the integer model's are."""
    return np.clip(np.rint(score * LOGIT_STEPS), -(2**24), 2**24).astype(np.int32)


def float_probability(slices: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of the float model on the test rows."""
    raw = float_raw(slices["calibration_float"])
    test = float_raw(slices["test_float"])
    bounds = (int(min(raw.min(), test.min())) - 1, int(max(raw.max(), test.max())) + 1)
    return probability(fit_table(raw, slices["calibration_label"], bounds), test)


def table_of(
    slices: Mapping[str, npt.NDArray[Any]],
    scenario_names: Sequence[str],
    int8: tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]] | None = None,
) -> dict[str, Any]:
    """Models and rules side by side: same test rows, same populations.

    ``int8``: raw scores and probabilities of the quantized model on the test rows.
    """
    label = slices["test_label"]
    scorers: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None]] = {}
    if len(label):
        scorers["model_float"] = (slices["test_float"], float_probability(slices))
        if int8 is not None:
            scorers["model_int8"] = int8
        for key in slices:
            if key.startswith("test_rule_"):
                scorers[key.removeprefix("test_rule_")] = (slices[key], None)
    populations = {"all": np.ones(len(label), bool)}
    if "test_without_known_cards" in slices:
        populations["known_cards_removed"] = slices["test_without_known_cards"]
    return {
        "populations": {
            population: {
                scorer: evaluate(
                    score[rows],
                    label[rows],
                    probability=None if p is None else p[rows],
                    scenario=slices["test_scenario"][rows],
                    scenario_names=scenario_names,
                )
                for scorer, (score, p) in scorers.items()
            }
            for population, rows in populations.items()
        }
    }


def draw_run(
    run: RunFolder,
    slices: Mapping[str, npt.NDArray[Any]],
    int8: tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]] | None = None,
) -> None:
    """Draw the test period; nothing when it holds no fraud."""
    from tinyfin.training.plots import draw

    label = slices["test_label"]
    if len(np.unique(label)) < 2:
        return
    scores: dict[str, npt.NDArray[Any]] = {"model float": slices["test_float"]}
    probability = {"model float": float_probability(slices)}
    if int8 is not None:
        scores["model int8"], probability["model int8"] = int8
    for key in slices:
        if key.startswith("test_rule_"):
            scores[key.removeprefix("test_rule_")] = slices[key]
    draw(run.path / "plots", label, scores, probability)


def _slices(
    tx: Transactions, split: Split, inputs: Mapping[str, npt.NDArray[np.int8]], seed: int
) -> dict[str, npt.NDArray[Any]]:
    from tinyfin.quantize.convert import representative_rows

    slices: dict[str, npt.NDArray[Any]] = {
        "representative": representative_rows(
            inputs["fit"], tx.label[split.fit], REPRESENTATIVE_ROWS, seed
        ),
        "calibration": inputs["calibration"],
        "calibration_label": tx.label[split.calibration],
        "test": inputs["test"],
        "test_label": tx.label[split.test],
        "test_scenario": tx.scenario_code[split.test],
        "test_row": tx.row[split.test],
    }
    for rule, score in rule_scores(tx).items():
        slices[f"test_rule_{rule}"] = score[split.test].astype(np.float32)
    stay = known_cards_removed(tx, split.test, split.until_s)
    if stay is not None:
        slices["test_without_known_cards"] = stay
    return slices


def _facts(
    run: RunFolder,
    paths: Sequence[str | Path],
    tx: Transactions,
    config: Config,
    program: Program,
    fitted: Any,
    split: Mapping[str, Any],
) -> dict[str, Any]:
    from tinyfin.training.reproducible import versions

    weights = hashlib.sha256()
    for array in fitted.keras_model.get_weights():
        weights.update(np.ascontiguousarray(array).tobytes())
    text = (run.path / "config.toml").read_bytes()
    return {
        "name": run.name,
        "data": {
            "files": file_facts(paths),
            "fingerprint": tx.fingerprint(),
            "rows": len(tx),
            "terminals": len(tx.terminals),
            "frauds": int(np.count_nonzero(tx.label == 1)),
            "scenarios": list(tx.scenario or ()),
            "label_delay_s": config.data.label_delay_s,
            "notices": config.data.notices,
        },
        "config_sha256": hashlib.sha256(text).hexdigest(),
        "split": dict(split),
        "features": {
            "names": list(program.feature_names),
            "ids": list(program.feature_ids),
            "reason_ids": list(program.reason_ids),
            "program_sha256": hashlib.sha256(program.payload).hexdigest(),
            "state_bytes": program.state_bytes,
            "cuts": dict(config.features.cuts),
        },
        "model": {
            "family": config.model.family,
            "hidden": list(config.model.hidden),
            "seed": config.model.seed,
            "readout": fitted.readout,
            "weights_sha256": weights.hexdigest(),
            **fitted.history,
        },
        "versions": versions(),
    }
