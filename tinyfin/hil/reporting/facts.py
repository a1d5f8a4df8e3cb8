# SPDX-License-Identifier: Apache-2.0
"""Collects what a report says. What is not there is said, never invented."""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions, format_time
from tinyfin.documents import plain
from tinyfin.errors import InputError, TinyfinError
from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.hil.replay.result import ReplayResult
from tinyfin.hil.reporting import detection
from tinyfin.hil.reporting.judge import checks, passed
from tinyfin.hil.reporting.report import (
    ExtraSection,
    InstructionFacts,
    Missing,
    PackFacts,
    Replayed,
    ReplayedData,
    ReplayReport,
    Sizes,
    TargetFacts,
    TestPeriod,
    Verdict,
)
from tinyfin.results.facts import ResultFile
from tinyfin.results.metrics import Metrics
from tinyfin.results.parity import Parity
from tinyfin.results.run import RunFacts
from tinyfin.training.curves import curves, score_histogram
from tinyfin.training.run_folder import RunFolder

__all__ = ["collect"]

EXAMPLE_HZ = 100_000_000
"""The clock at which instructions are shown as a time, an assumption named as such."""

T = TypeVar("T")
F = TypeVar("F", bound=ResultFile)
Numbers = npt.NDArray[np.number]


class _Notes:
    """What could not be said, and why."""

    def __init__(self) -> None:
        self.rows: list[Missing] = []

    def __call__(self, what: str, why: str) -> None:
        self.rows.append(Missing(what=what, why=why))

    def attempt(self, what: str, make: Callable[[], T]) -> T | None:
        """The value, or None and a row that says why there is none."""
        try:
            return make()
        except (TinyfinError, OSError) as error:
            self(what, str(error))
            return None


def collect(
    replays: Sequence[ReplayResult | ReplayFacts],
    *,
    run_dir: Path | None,
    tx: Transactions | None,
    sizes: Mapping[str, Sizes],
    commands: Sequence[str],
    date: str | None,
    title: str,
    more: Sequence[ExtraSection],
) -> ReplayReport:
    """Everything the report says; :func:`tinyfin.hil.reporting.page.write` names the arguments."""
    missing = _Notes()
    given = [one if isinstance(one, ReplayFacts) else one.facts() for one in replays]
    results = [one for one in replays if isinstance(one, ReplayResult)]
    if not given:
        missing("replay", "nothing was replayed")
    run = metrics = parity = pack = period = None
    if run_dir is None:
        missing("training, metrics and sizes of the pack", "no run folder was given")
    else:
        folder = RunFolder(run_dir)
        run = _part(RunFacts, folder, missing)
        metrics = _part(Metrics, folder, missing)
        parity = _part(Parity, folder, missing)
        pack = missing.attempt("the pack's contents", lambda: _pack(run_dir / "model.tfpack"))
    targets = [_target(one, run_dir, sizes) for one in given]
    for target in targets:
        for value, name in (
            (target.flash_bytes, "flash"),
            (target.ram_bytes, "RAM"),
            (target.stack_bytes, "stack"),
        ):
            if value is None:
                missing(f"{name} on {target.name}", "neither image nor replay say it")
    instructions = _measured(replays, given, missing)
    if run_dir is not None:
        period = missing.attempt(
            "score, precision-recall and calibration pictures of the test period",
            lambda: _test_period(run_dir, missing),
        )
    quantized = run_dir is not None and (run_dir / Parity.NAME).exists()
    found = checks(given, parity, pack.pack_id if pack else None, quantized=quantized)
    return ReplayReport(
        title=title,
        date=date,
        verdict=Verdict(passed=passed(found), checks=found),
        replays=given,
        targets=targets,
        instructions=instructions,
        example_hz=EXAMPLE_HZ,
        run=run,
        metrics=metrics,
        parity=parity,
        pack=pack,
        data=_data(tx),
        test_period=period,
        replayed=_replayed(results, tx, run, missing),
        commands=list(commands) or _commands(given, run),
        more=list(more),
        missing=missing.rows,
    )


def _part(kind: type[F], run: RunFolder, missing: _Notes) -> F | None:
    """What a JSON file of the run says."""

    def read() -> F:
        found = {key: plain(value) for key, value in run.read_json(kind.NAME).items()}
        return kind.parse(found, kind.NAME)

    return missing.attempt(f"{kind.NAME} of the run", read)


def _pack(path: Path) -> PackFacts:
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.explain import explain_pack
    from tinyfin.pack.trust import keys_beside

    return PackFacts.model_validate(
        explain_pack(parse_pack(path.read_bytes(), keys=keys_beside(path)))
    )


def _target(replay: ReplayFacts, run_dir: Path | None, sizes: Mapping[str, Sizes]) -> TargetFacts:
    """What is known of a target: catalogue, image, and the replay's own words."""
    from tinyfin.targets.catalogue import get

    name = replay.target
    out = TargetFacts(name=name, kind="reached by its port; not in the catalogue")
    known = Sizes()
    try:
        target = get(name)
    except TinyfinError:
        pass
    else:
        out.title, out.core = target.title, target.core
        out.kind = "hardware"
        if target.emulator:
            out.kind = f"emulated: {' '.join(target.emulator.command[:3])}"
        out.flash_available_bytes = target.flash_bytes
        out.ram_available_bytes = target.ram_bytes
        if run_dir is not None:
            known = _image(run_dir / "firmware" / name / "image.json")
    if replay.emulator is not None:
        out.kind = replay.emulator
    said = Sizes(flash_bytes=replay.flash_bytes, ram_bytes=replay.ram_bytes)
    for source in (known, said, sizes.get(name, Sizes())):
        for key in Sizes.model_fields:
            if getattr(source, key) is not None:
                setattr(out, key, getattr(source, key))
    return out


def _image(path: Path) -> Sizes:
    """Sizes that the build wrote down; none when it did not."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Sizes.model_validate({key: found.get(key) for key in Sizes.model_fields})
    except (OSError, ValueError):
        return Sizes()


def _measured(
    replays: Sequence[ReplayResult | ReplayFacts], given: Sequence[ReplayFacts], missing: _Notes
) -> list[InstructionFacts]:
    """Instructions per transaction of each replay that counted them."""
    out = []
    for replay, facts in zip(replays, given, strict=True):
        counts = replay.instructions if isinstance(replay, ReplayResult) else None
        if isinstance(replay, ReplayResult) and counts is not None and len(counts):
            out.append(detection.instruction_facts(facts.target, counts, replay.action))
        elif facts.instructions is not None:
            out.append(InstructionFacts(target=facts.target, **dict(facts.instructions)))
        else:
            missing(
                f"instructions per transaction on {facts.target}",
                "the target counts none, or the replay did not ask for them",
            )
            continue
        missing(
            f"instructions of features, network and reasons apart on {facts.target}",
            "a replay counts a transaction as a whole; `tinyfin bench` counts the network",
        )
    return out


def _data(tx: Transactions | None) -> ReplayedData | None:
    if tx is None or not len(tx):
        return None
    return ReplayedData(
        rows=len(tx),
        terminals=len(np.unique(tx.terminal)),
        frauds=int(np.count_nonzero(tx.label == 1)),
        unlabelled=int(np.count_nonzero(tx.label < 0)),
        begin=format_time(int(tx.t_mono_s.min())),
        to=format_time(int(tx.t_mono_s.max())),
        fingerprint=tx.fingerprint(),
    )


_NEEDED = ("test_label", "test_float", "calibration_label", "calibration_float")


def _test_period(run_dir: Path, missing: _Notes) -> TestPeriod:
    """Curves of the run's test period, the int8 scores computed by the twin."""
    from tinyfin.training.run_metrics import baselines_of, float_probability

    slices = _slices(run_dir / "slices.npz")
    label = slices["test_label"].astype(np.int8)
    scores: dict[str, Numbers] = {"model_float": slices["test_float"]}
    probability = {"model_float": float_probability(slices)}
    int8 = missing.attempt("int8 scores of the test period", lambda: _int8(run_dir, slices))
    if int8 is not None:
        scores = {"model_int8": int8[0], **scores}
        probability = {"model_int8": int8[1], **probability}
    scores |= dict(sorted(baselines_of(slices).items()))
    found = curves(label, scores, probability)
    if found is None:
        raise InputError("the test period has no fraud, or nothing but fraud")
    first = next(iter(probability))
    return TestPeriod(
        rows=len(label),
        frauds=int(np.count_nonzero(label == 1)),
        scores_of=first,
        scores=score_histogram(probability[first], label),
        precision_recall=found.precision_recall,
        calibration=found.calibration,
    )


def _slices(path: Path) -> dict[str, Numbers]:
    try:
        with np.load(path) as arrays:
            slices = {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name}: {error}") from error
    absent = [name for name in _NEEDED if name not in slices]
    if absent:
        raise InputError(f"{path.name}: has no {', '.join(absent)}")
    return slices


def _int8(
    run_dir: Path, slices: Mapping[str, Numbers]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.trust import keys_beside
    from tinyfin.training.calibration import probability
    from tinyfin.twin import Twin

    data = (run_dir / "model.tfpack").read_bytes()
    table = parse_pack(data).calibration
    if table is None:
        raise InputError("the pack has no calibration")
    if "test" not in slices:
        raise InputError("slices.npz: has no test")
    raw = Twin(data, keys=keys_beside(run_dir)).infer(slices["test"].astype(np.int8))[1]
    return raw, probability(table, raw)


def _replayed(
    results: Sequence[ReplayResult], tx: Transactions | None, run: RunFacts | None, missing: _Notes
) -> Replayed | None:
    """What the terminal's own verdicts caught: of the first replay that has verdicts."""
    result = next((one for one in results if len(one.row)), None)
    if result is None:
        missing("alerts and scores of the replay", "no verdicts were given to the report")
        return None
    if tx is None:
        missing("alerts and scores of the replay", "the transactions were not given to the report")
        return None
    row = result.row
    later, until = _later(tx, row, run)
    only_later = bool(np.any(later))
    use = later if only_later else np.ones(len(row), bool)
    probability = detection.replayed_probability(result.score_q32[use])
    scores = score_histogram(probability, tx.label[row[use]])
    if scores is None:
        missing("score distribution of the replay", "no replayed transaction has a label")
    return Replayed(
        target=result.target,
        verdicts=len(row),
        learned_until=until,
        later_than_learning=int(np.count_nonzero(later)),
        only_later=only_later,
        scores=scores,
        caught=detection.caught(tx, row[use], result.action[use]),
    )


def _later(
    tx: Transactions, row: npt.NDArray[np.int64], run: RunFacts | None
) -> tuple[npt.NDArray[np.bool_], str | None]:
    """Which replayed rows are later than everything that the model was trained on."""
    from tinyfin.config import parse_moment

    if run is None:
        return np.zeros(len(row), bool), None
    until = run.split.until
    try:
        at = parse_moment(until)
    except ValueError:
        return np.zeros(len(row), bool), None
    return tx.t_mono_s[row].astype(np.int64) >= at, until


def _commands(replays: Sequence[ReplayFacts], run: RunFacts | None) -> list[str]:
    if run is None:
        return []
    name = shlex.quote(run.name)
    files = " ".join(shlex.quote(file.name) for file in run.data.files) or "DATA"
    lines = [
        f"tinyfin train {files} --config runs/{name}/config.toml --name {name}-again "
        f"--until {shlex.quote(run.split.until)} --seed {run.model.seed}",
        f"tinyfin quantize runs/{name}",
    ]
    for replay in replays:
        target = shlex.quote(replay.target)
        lines.append(f"tinyfin flash runs/{name} --target {target}")
        command = f"tinyfin replay runs/{name} {files} --target {target}"
        for option, value in replay.options.items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                command += f" --{option} {shlex.quote(str(one))}"
        lines.append(command)
    return lines
