# SPDX-License-Identifier: Apache-2.0
"""One model from one split: maps, network, and what the commands after training need."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.config import Config
from tinyfin.config.lineage import of_the_model
from tinyfin.data.seen import Seen
from tinyfin.data.transactions import Transactions
from tinyfin.memory import give_back
from tinyfin.pack.maps import InputMap, map_inputs
from tinyfin.progress import stage
from tinyfin.results.metrics import Thinned
from tinyfin.results.reference import Reference
from tinyfin.results.run import DataFacts, FeatureFacts, ModelFacts, RunFacts
from tinyfin.training.baselines import learned_scores
from tinyfin.training.dataset import Dataset, Featured, as_known
from tinyfin.training.families import Family, Learned, Problem, family, score_rows, weights_sha256
from tinyfin.training.input_maps import fit_maps, fit_tail_maps
from tinyfin.training.notices import label_fed, newest_label_ages
from tinyfin.training.populations import cards_of, drawn_anew, known_cards_removed
from tinyfin.training.reference import reference_of_rows
from tinyfin.training.representative_sample import REPRESENTATIVE_ROWS, representative_rows
from tinyfin.training.rules import rule_scores
from tinyfin.training.run_folder import Arrays, RunFolder, file_facts
from tinyfin.training.run_metrics import BASELINE
from tinyfin.training.split import SLICES, Split, known_labels

__all__ = ["input_maps", "learn", "map_rows"]

Note = Callable[[str], None]
_ROWS = 1 << 18


def learn(
    run: RunFolder,
    dataset: Dataset,
    split: Split,
    config: Config,
    *,
    baselines: Sequence[str] | None = None,
    note: Note = lambda _: None,
) -> Arrays:
    """Fit the model and write all of ``run`` but its metrics; returns its slices.

    ``baselines``: learned ones to fit with it, those of the configuration if None. Raises
    ConfigError.
    """
    tx = dataset.tx
    rules = rule_scores(tx, config.rules, timeless=config.data.plain, rows=split.test)
    give_back()
    made = dataset.featured(config, split, note=note)
    config, features, program = made.config, made.features, made.program
    run.add_learned(made.cuts, made.risks, made.compromise)
    label = known_labels(tx, split.until_s)
    chosen = family(config.model.family)
    rows = {part: getattr(split, part) for part in SLICES}
    if still := constants(features, split.fit, program.feature_names):
        note(
            f"{len(still)} of {len(program.feature_names)} features have one value in all "
            f"{len(split.fit)} rows to fit on, so they cost flash and instructions for nothing; "
            f"name the others in [features] names: {', '.join(still)}"
        )
    with stage("input maps"):
        maps = input_maps(chosen, features, split.fit, label[split.fit])
        inputs = {part: map_rows(maps, features, rows[part]) for part in rows}
    everything = chosen.takes_validation(config.model)
    if chosen.supervised and not everything and not np.any(label[split.validation] == 1):
        note(
            f"the {len(split.validation)} validation rows hold no fraud, so they cannot "
            "compare epochs: the last one is kept; a larger [train] validation may hold some"
        )
    amount = tx.amount
    problem = Problem(
        inputs["fit"],
        label[split.fit],
        inputs["validation"],
        label[split.validation],
        program.feature_names,
        None if amount is None else amount[split.fit],
        None if amount is None else amount[split.validation],
    )
    if everything:
        problem = problem.with_validation()
    with stage(f"training {config.model.family}") as training:
        fitted = chosen.fit(problem, config.model, training.at)
    slices = _slices(tx, split, label, inputs, config)
    slices |= {BASELINE + rule: score.astype(np.float32) for rule, score in rules.items()}
    if (stay := known_cards_removed(tx, split.test, split.until_s)) is not None:
        slices["test_without_known_cards"] = stay
    slices["medians"] = np.array([np.median(column[split.fit]) for column in features.T]).astype(
        np.int16
    )
    for part in ("calibration", "test"):
        slices[f"{part}_float"] = score_rows(fitted, inputs[part])
    if len(split.calibration) > 1 and np.ptp(slices["calibration_float"]) == 0:
        note("WARNING: the model gives one and the same score for every row: it learned nothing")
    names = config.evaluate.baselines if baselines is None else baselines
    if names:
        note(f"baselines on the same rows: {', '.join(names)}")
    thinned = [*fitted.thinned]
    for name, score in learned_scores(
        names, inputs, features, rows, label, config.model.seed, thinned
    ).items():
        slices[BASELINE + name] = score
    fitted.save(run.path)
    files.write(run.path / "program.bin", program.payload)
    run.write_maps(maps, program.feature_names)
    with stage("writing slices.npz"):
        run.write_arrays("slices.npz", slices)
    run.write(_reference(tx, made, rows, inputs))
    run.write(_facts(run, dataset, made, split, fitted, thinned))
    return slices


def constants(
    features: npt.NDArray[np.int16], rows: npt.NDArray[np.int64], names: Sequence[str]
) -> list[str]:
    """Names of the columns of ``features`` that have one value in all of ``rows``."""
    return [
        name
        for name, column in zip(names, features.T, strict=True)
        if len(rows) > 1 and not np.ptp(column[rows])
    ]


def input_maps(
    chosen: Family,
    features: npt.NDArray[np.int16],
    rows: npt.NDArray[np.int64],
    label: npt.NDArray[np.int8],
) -> tuple[InputMap, ...]:
    """The input maps that a family asks for, fitted on the ``rows`` to train on, whose labels are
    ``label``; column by column, for a copy of all would take much memory."""
    columns = (column[rows][:, None] for column in features.T)
    each = (fit_maps(x, label) if chosen.supervised else fit_tail_maps(x) for x in columns)
    return tuple(one for (one,) in each)


def map_rows(
    maps: Sequence[InputMap], features: npt.NDArray[np.int16], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int8]:
    """The network's inputs int8[rows, F] of some rows of ``features``."""
    out = np.empty((len(rows), len(maps)), np.int8)
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        out[start : start + len(some)] = map_inputs(maps, features[some])
    return out


def _slices(
    tx: Transactions,
    split: Split,
    label: npt.NDArray[np.int8],
    inputs: Mapping[str, npt.NDArray[np.int8]],
    config: Config,
) -> Arrays:
    slices: Arrays = {
        "representative": representative_rows(
            inputs["fit"], label[split.fit], REPRESENTATIVE_ROWS, config.model.seed
        ),
        "test_scenario": tx.scenario_code[split.test],
        "test_row": tx.row[split.test],
    }
    amount = np.zeros(len(tx), np.int64) if tx.amount is None else tx.amount
    for part in ("calibration", "test"):
        rows = getattr(split, part)
        slices[part] = inputs[part]
        slices[f"{part}_label"] = label[rows]
        slices[f"{part}_terminal"] = tx.terminal[rows]
        slices[f"{part}_t_s"] = tx.t_mono_s[rows]
        slices[f"{part}_amount"] = amount[rows]
    cards = np.unique(cards_of(tx, split.test), return_inverse=True)[1]
    slices["test_group"] = cards.astype(np.int32)
    return slices


def _reference(
    tx: Transactions,
    made: Featured,
    rows: Mapping[str, npt.NDArray[np.int64]],
    inputs: Mapping[str, npt.NDArray[np.int8]],
) -> Reference:
    parts = [part for part in SLICES if part != "test"]
    late = np.repeat([part == "calibration" for part in parts], [len(rows[p]) for p in parts])
    return reference_of_rows(
        tx,
        np.concatenate([rows[part] for part in parts]),
        np.concatenate([inputs[part] for part in parts]),
        late,
        made.program,
        label_fed(made.config.features),
    )


def _facts(
    run: RunFolder,
    dataset: Dataset,
    made: Featured,
    split: Split,
    fitted: Learned,
    thinned: list[Thinned],
) -> RunFacts:
    from tinyfin.training.reproducible import versions

    tx, config, program = dataset.tx, made.config, made.program
    labels = [spec.file for spec in config.labels.files.values()]
    text = of_the_model((run.path / "config.toml").read_bytes().decode())
    return RunFacts(
        name=run.name,
        data=DataFacts(
            files=[file.model_copy(update={"path": run.seen(file.path)}) for file in dataset.files],
            fingerprint=tx.fingerprint(),
            known_fingerprint=as_known(tx, split.until_s).fingerprint(),
            rows=len(tx),
            terminals=len(tx.terminals),
            frauds=int(np.count_nonzero(tx.label == 1)),
            scenarios=list(tx.scenario or ()),
            label_delay_s=config.data.label_delay_s,
            notices=config.data.notices,
            drawn=drawn_anew(tx, split.test),
            fields=sorted(Seen.of(tx, config).names),
            newest_label_s=newest_label_ages(tx, config.data.notices, split.calibration),
            **({"label_files": file_facts(labels)} if labels else {}),
        ),
        config_sha256=hashlib.sha256(text.encode()).hexdigest(),
        split=split.summary(known_labels(tx, split.until_s)),
        features=FeatureFacts(
            names=list(program.feature_names),
            ids=list(program.feature_ids),
            reason_ids=list(program.reason_ids),
            program_sha256=hashlib.sha256(program.payload).hexdigest(),
            state_bytes=program.state_bytes,
            cuts=dict(config.features.cuts),
        ),
        model=ModelFacts(
            family=config.model.family,
            seed=config.model.seed,
            readout=fitted.readout,
            weights_sha256=weights_sha256(fitted),
            **{
                "hidden": list(config.model.hidden),
                **fitted.history.model_dump(exclude_unset=True),
            },
        ),
        versions=versions(),
        thinned=thinned,
        capacities=dataset.capacities(made),
    )
