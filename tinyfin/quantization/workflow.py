# SPDX-License-Identifier: Apache-2.0
"""From a run's float network to its int8 ``.tflite`` and its signed pack, checked against TFLM.

Tables and trees (``model.json``) are integers already and are checked against the oracle. From the
``.tflite`` or ``model.json`` on everything is integer arithmetic and order: any machine makes the
same pack, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.config import DecisionSection
from tinyfin.errors import MismatchError, ModelError, PackError
from tinyfin.features.compiler import compile_program
from tinyfin.features.selection import select
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.container import build_pack, model_id, parse_pack
from tinyfin.pack.decision import Decision
from tinyfin.pack.golden import Golden
from tinyfin.pack.layouts import remove_layouts, replace_pack
from tinyfin.pack.plan import describe
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key
from tinyfin.pack.trust import PUBLIC_KEY_FILE
from tinyfin.progress import stage
from tinyfin.quantization.keras_to_tflite import to_tflite
from tinyfin.quantization.run_network import Network, compare_with_oracle, network_of
from tinyfin.results.metrics import Metrics, Population
from tinyfin.results.parity import Comparison, FloatAndInt8, Pair, Parity, Sizes
from tinyfin.results.run import RunFacts
from tinyfin.training.calibration import fit_scores, has_frauds, probability
from tinyfin.training.populations import LOOK_BACK_DAYS
from tinyfin.training.reference import kept_reference, score_bins
from tinyfin.training.run_folder import RunFolder, Slices, changing_run, open_run
from tinyfin.training.thresholds import Held, decide, realised

if TYPE_CHECKING:
    from tinyfin.twin import Twin

__all__ = ["assemble", "quantize"]

Note = Callable[[str], None]

PARITY_ROWS = 4000
GOLDEN_ROWS = 8
MUCH = 0.02
"""Average precision that int8 may lose against float before a warning is due."""


@dataclass(frozen=True)
class _Made:
    """A pack, its calibration and decision, and the raw scores of the calibration rows."""

    network: Network
    pack: bytes
    calibration: Calibration
    decision: Decision
    raw: npt.NDArray[np.int32]

    def alerts(self, raw: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Of raw scores, those that lead to any action but accept."""
        return self.decision.evaluate(self.calibration.evaluate(raw)) > 0

    def scores(self, twin: Twin, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
        """Raw scores of rows that may be none."""
        return twin.infer(inputs)[1] if len(inputs) else self.raw[:0]


def quantize(
    run: RunFolder | str | Path,
    *,
    key: Key | None = None,
    security_counter: int | None = None,
    interpreter: Path | None = None,
    note: Note = lambda _: None,
) -> dict[str, object]:
    """Make ``model.tflite``, ``model.tfpack`` and ``parity.json``, and add int8 to the metrics; all
    of them take the places of the old ones at once.

    ``key``: a signing key; the public development key if None. ``security_counter``: that of the
    run's pack, or 0 for its first, if None. ``interpreter``: a Python whose TFLite interpreter
    is compared with TFLM, too, and reported. Returns what metrics and parity
    hold. Raises ModelError for an operator that the plan does not know, MismatchError when a byte
    of the network differs from TFLM's: the run then has no pack.
    """
    run = open_run(run)
    with changing_run(run, keep=(MismatchError,)) as changed:
        counter = _counter(changed) if security_counter is None else security_counter
        report, metrics = _quantize(changed, key, counter, interpreter, note)
    names = {"run": str(run.shown), "pack": str(run.shown / run.pack.name)}
    return {**names, **report.as_json(), **metrics.as_json()}


def _quantize(
    run: RunFolder, key: Key | None, security_counter: int, interpreter: Path | None, note: Note
) -> tuple[Parity, Metrics]:
    from tinyfin.twin import Twin

    facts = run.facts()
    slices = run.slices()
    made = assemble(
        run,
        _model_file(run, facts, slices, note),
        facts,
        slices,
        key=key,
        security_counter=security_counter,
    )
    (run.path / PUBLIC_KEY_FILE).unlink(missing_ok=True)
    remove_layouts(run.pack)
    run.pack.unlink(missing_ok=True)  # neither an older pack nor one that fails is left to be used
    twin = Twin(made.pack, keys=() if key is None else (key.public,))
    compared = _compare(run, made.network, slices, twin, interpreter)
    metrics = _measure(run, facts, slices, twin, made)
    _keep_scores(run, made)
    report = Parity.model_validate(
        compared.model_dump(exclude_unset=True)
        | {"float_and_int8": _differences(metrics), "sizes": _sizes(made)}
    )
    _warn(metrics, made.network.is_tflite, note)
    run.write(report)
    run.write(metrics)
    if report.plan.differing_bytes:
        raise MismatchError(
            f"{run.path}: {report.plan.differing_bytes} of {report.bytes} bytes of the "
            f"plan differ from {report.reference}'s on {report.rows} rows; do not use this "
            "pack, and report it with the model's file"
        )
    replace_pack(run.pack, made.pack, key)
    return report, metrics


def _keep_scores(run: RunFolder, made: _Made) -> None:
    """How the scores are distributed that ``tinyfin monitor`` compares later ones with."""
    found = kept_reference(run)
    if found is not None:
        found.score = score_bins(made.raw, made.calibration)
        run.write(found)


def _counter(run: RunFolder) -> int:
    """Of the pack that is about to be replaced: a counter does not go back unasked."""
    try:
        return parse_pack(run.pack.read_bytes()).security_counter
    except (OSError, PackError):
        return 0


def _warn(metrics: Metrics, layers: bool, note: Note) -> None:
    """Say when int8 ranks much worse than float: the figures alone are easily overlooked."""
    scorers = metrics.populations["all"]
    if "model_float" not in scorers:
        return  # no labelled row to rank
    loss = scorers["model_float"].average_precision - scorers["model_int8"].average_precision
    if loss > MUCH:
        why = (
            "some layer's values spread too far for 256 steps: Normalization of an input that "
            "hardly varies, or layers without BatchNormalization or regularization"
            if layers
            else "a few leaves are so large that 256 steps are too few for the others: regularize "
            "the leaves, or let them hold more rows"
        )
        note(f"WARNING: int8 loses {loss:.3f} average precision against float; {why}")


def _model_file(run: RunFolder, facts: RunFacts, slices: Slices, note: Note) -> bytes:
    """``model.json`` if the family made one, else ``model.tflite``, made now; of a run that was
    given an int8 network, that one as it is."""
    integers = run.path / "model.json"
    if integers.is_file():
        return integers.read_bytes()
    if facts.model.file is not None and not (run.path / "model.keras").is_file():
        return run.file("model.tflite").read_bytes()
    from tinyfin.training.reproducible import tensorflow

    tf = tensorflow(facts.model.seed)
    with stage("converting to int8"):
        network = tf.keras.models.load_model(run.file("model.keras"), compile=False)
        tflite = to_tflite(network, slices["representative"])
    files.write(run.tflite, tflite)
    return tflite


def assemble(
    run: RunFolder,
    file: bytes,
    facts: RunFacts,
    slices: Slices,
    *,
    key: Key | None = None,
    section: DecisionSection | None = None,
    parent: str | None = None,
    security_counter: int = 0,
) -> _Made:
    """The signed pack of a ``.tflite`` or ``model.json``, and what was found on the way.

    ``section``: takes the place of the configuration's [decision]; ``parent``: id of the pack that
    this one follows. The same arguments give the same bytes on every machine.
    """
    from tinyfin.twin import NetworkTwin

    config, maps = run.config(), run.maps()
    program = compile_program(config.features, config.schema, **config.features.capacities)
    if program.payload != run.file("program.bin").read_bytes():
        raise ModelError(
            f"{run.path}: this tinyfin makes another feature program of the run's configuration "
            "than the one it was trained with; train again"
        )
    network = network_of(file, run.path, facts.model.readout)
    if network.bounds[0] == network.bounds[1]:
        raise _still(run, slices)
    twin = NetworkTwin(network.plan, network.readout.encode())
    raw = twin.infer(slices["calibration"])[1]
    if len(raw) > 1 and np.ptp(raw) == 0:
        raise _still(run, slices)
    table = fit_scores(raw, slices["calibration_label"], network.bounds)
    features = select(config.features)
    usual = [f.usual(int(m)) for f, m in zip(features, slices["medians"], strict=True)]
    references = [int(m.evaluate(np.asarray([f]))[0]) for m, f in zip(maps, usual, strict=True)]
    decision = decide(
        section or config.decision,
        table,
        Held.of(raw, slices),
        features=features,
        references=references,
    )
    vectors = _golden_rows(slices["calibration"], raw)
    calibrated = has_frauds(slices["calibration_label"])
    pack = build_pack(
        config.schema,
        program,
        maps=maps,
        plan=network.plan,
        readout=network.readout,
        calibration=table,
        decision=decision,
        golden=Golden(vectors, twin.infer(vectors)[1]),
        meta={
            "family": facts.model.family,
            "readout": facts.model.readout,
            "score": "probability" if calibrated else "rank",
        },
        lineage={
            "data": facts.data.known_fingerprint,
            "config": facts.config_sha256,
            "weights": facts.model.weights_sha256,
            "tflite" if network.is_tflite else "integers": hashlib.sha256(file).hexdigest(),
            "code": facts.versions["tinyfin"],
            "until": facts.split.until,
            "seed": facts.model.seed,
            "parent": parent,
        },
        security_counter=security_counter,
        model=model_id(network.file),
        key=key or DEVELOPMENT_KEY,
    )
    return _Made(network, pack, table, decision, raw)


def _still(run: RunFolder, slices: Slices) -> ModelError:
    """The error of a network that gives every row the same score."""
    if np.ptp(slices["calibration_float"]) > 0:
        why = (
            "the float network does not: its values spread too far for 256 steps; use "
            "BatchNormalization or regularization, and train again"
        )
    else:
        why = (
            "nothing was learned: look for inputs that never vary, a learning rate that is too "
            "large, weights that are all 0, and train again"
        )
    return ModelError(
        f"{run.path}: the int8 network gives one and the same score for every row; {why}"
    )


def _golden_rows(inputs: npt.NDArray[np.int8], raw: npt.NDArray[np.int32]) -> npt.NDArray[np.int8]:
    """Rows from the lowest to the highest raw score, and the two ends of the input range."""
    order = np.argsort(raw, kind="stable")
    at = np.linspace(0, len(order) - 1, GOLDEN_ROWS - 2).astype(np.int64)
    ends = np.array([[-128], [127]], np.int8).repeat(inputs.shape[1], axis=1)
    return np.ascontiguousarray(np.concatenate([inputs[order[at]], ends]))


def _compare(
    run: RunFolder, network: Network, slices: Slices, twin: Twin, interpreter: Path | None
) -> Comparison:
    """Bytes of the plan, and of other interpreters, against the reference's, on real rows."""
    real = np.concatenate([slices["test"], slices["calibration"], slices["representative"]])
    at = np.linspace(0, len(real) - 1, min(len(real), PARITY_ROWS)).astype(np.int64)
    rows = np.ascontiguousarray(real[at])
    return compare_with_oracle(network, run.tflite, rows, lambda x: twin.infer(x)[0], interpreter)


def _measure(run: RunFolder, facts: RunFacts, slices: Slices, twin: Twin, made: _Made) -> Metrics:
    from tinyfin.training.run_metrics import draw_run, savings_of, table_of

    scores = made.scores(twin, slices["test"])
    int8 = (scores, probability(made.calibration, scores))
    config = run.config()
    alert_minor = config.evaluate.alert_minor(config.decision)
    with stage("metrics"):
        metrics = Metrics(
            known_cards_look_back_days=LOOK_BACK_DAYS,
            populations=table_of(slices, facts.data.scenarios, int8),
            thinned=facts.thinned,
            decision=realised(
                config.decision,
                made.decision,
                made.calibration,
                slices,
                {"calibration": made.raw, "test": scores},
                facts.data.drawn,
                alert_minor,
            ),
            alert_minor=alert_minor,
            savings=savings_of(slices, "model_int8", scores, made.alerts(scores), alert_minor),
        )
    with stage("pictures"):
        draw_run(run, slices, int8)
    return metrics


def _differences(metrics: Metrics) -> dict[Population, FloatAndInt8]:
    out: dict[Population, FloatAndInt8] = {}
    for population, scorers in metrics.populations.items():
        if "model_int8" in scorers:
            a, b = scorers["model_float"], scorers["model_int8"]
            out[population] = FloatAndInt8(
                average_precision=Pair(float_=a.average_precision, int8=b.average_precision),
                recall_at_0_1_percent=Pair(
                    float_=a.recall_at_0_1_percent, int8=b.recall_at_0_1_percent
                ),
            )
            if a.has_probabilities:
                out[population].calibration_error = Pair(
                    float_=a.calibration_error, int8=b.calibration_error
                )
    return out


def _sizes(made: _Made) -> Sizes:
    plan = describe(made.network.plan)
    return Sizes(
        pack_bytes=len(made.pack),
        tflite_bytes=len(made.network.file) if made.network.is_tflite else None,
        plan_bytes=plan["plan_bytes"],
        arena_bytes=plan["arena_bytes"],
        macs=plan["macs"],
    )
