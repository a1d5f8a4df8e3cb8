# SPDX-License-Identifier: Apache-2.0
"""One fold of a protocol: a run of its own, quantized, and what its pack answers on the twin.

A fold's run is an ordinary run folder under ``RUN/evaluation``; it is kept, and used again while
nothing that could change it has changed.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

import tinyfin
from tinyfin import files
from tinyfin.config import Config
from tinyfin.data.transactions import Transactions
from tinyfin.errors import MismatchError
from tinyfin.evaluation.folds import Fold
from tinyfin.progress import stage
from tinyfin.quantization.workflow import quantize
from tinyfin.results.metrics import DecisionFacts, Metrics, Population
from tinyfin.results.parity import Distance, Parity
from tinyfin.results.run import RunFacts
from tinyfin.training.calibration import has_frauds
from tinyfin.training.chunks import replay_all
from tinyfin.training.dataset import Dataset
from tinyfin.training.families import FAMILIES
from tinyfin.training.fit import learn
from tinyfin.training.run_folder import Arrays, RunFolder, begin_run, changing_run
from tinyfin.training.run_metrics import baselines_of, float_probability

__all__ = ["FoldScores", "Scores", "score_fold"]

Note = Callable[[str], None]

_LEARNED, _DONE = "learned.json", "part.json"
_ANSWERS = ("raw", "score_q32", "advice", "reasons", "reason_count", "flags")
_VERDICTS = "3"
"""Changes with what verdicts.npz holds."""
_Q32 = float(1 << 32)


@dataclass(frozen=True)
class FoldScores:
    """The test rows of one fold with everything that was said of them, n rows in order of time."""

    fold: Fold
    run: RunFolder
    rows: npt.NDArray[np.int64]
    """Rows of the Transactions."""
    scores: Mapping[str, npt.NDArray[np.number]]
    """By scorer: ``model_int8`` (raw, of the twin), ``model_float`` and the baselines."""
    probability: Mapping[str, npt.NDArray[np.float64]]
    """By model: calibrated, or a rank where no fraud was known to calibrate on."""
    calibrated: bool
    advice: npt.NDArray[np.uint8]
    """Index into ADVICE."""
    reasons: npt.NDArray[np.uint16]
    """[n, 3], 0 where there is none."""
    flags: npt.NDArray[np.uint16]
    stay: npt.NDArray[np.bool_] | None
    """Cards without a known fraud; None when there are no cards."""
    calibration_raw: npt.NDArray[np.int32]
    """Raw scores of the rows that the table of probabilities was fitted to."""
    facts: RunFacts
    """The run's own."""
    decision: DecisionFacts | None
    parity: Distance
    """Of the plan from the reference."""

    def populations(self) -> dict[Population, npt.NDArray[np.bool_]]:
        """Masks by name; ``known_cards_removed`` first where there is one."""
        everybody: dict[Population, npt.NDArray[np.bool_]] = {"all": np.ones(len(self.rows), bool)}
        return everybody if self.stay is None else {"known_cards_removed": self.stay, **everybody}


Scores = Sequence[FoldScores]


def score_fold(
    folder: Path,
    dataset: Dataset,
    fold: Fold,
    config: Config,
    *,
    baselines: Sequence[str],
    cold_start: bool = False,
    note: Note = lambda _: None,
) -> FoldScores:
    """Learn, quantize and score one fold; or take what ``folder`` holds when it is the same.

    ``cold_start``: the state begins with the fold. Raises what training and quantizing raise.
    """
    asked = _asked(dataset.tx, fold, config, baselines, cold_start)
    learned = _hash(asked, _code("tinyfin.training.fit", FAMILIES[config.model.family]))
    key = _hash(learned, _code("tinyfin.quantization.workflow"), _VERDICTS)
    run = RunFolder(folder)
    if _kept(folder / _DONE) == key:
        note(f"{fold.name}: kept from before")
        return _load(run, fold)
    if _kept(folder / _LEARNED) == learned:
        note(f"{fold.name}: the network is kept from before")
    else:
        note(f"{fold.name}: training on {len(fold.split.fit)} rows")
        with files.folder(folder, empty=True) as made:
            begun = begin_run(RunFolder(made, folder), config)
            learn(begun, dataset, fold.split, config, baselines=baselines, note=note)
            begun.write_json(_LEARNED, {"key": learned, "part": fold.name})
    with changing_run(run) as changed:
        quantize(changed)
        arrays = _verdicts(changed, dataset.tx, fold, cold_start)
        changed.write_arrays("verdicts.npz", arrays)
        changed.write_json(_DONE, {"key": key, "part": fold.name})
    return _load(run, fold)


def _hash(*words: str) -> str:
    return hashlib.sha256("".join(words).encode()).hexdigest()


def _kept(path: Path) -> str | None:
    """The key that a file of an earlier time bears."""
    return json.loads(path.read_text(encoding="utf-8")).get("key") if path.is_file() else None


def _load(run: RunFolder, fold: Fold) -> FoldScores:
    slices = run.slices()
    with np.load(run.file("verdicts.npz")) as file:
        verdicts = {name: file[name] for name in file.files}
    return FoldScores(
        fold=fold,
        run=run,
        rows=fold.split.test,
        scores={
            "model_int8": verdicts["raw"],
            "model_float": slices["test_float"],
            **baselines_of(slices),
        },
        probability={
            "model_int8": verdicts["score_q32"].astype(np.float64) / _Q32,
            "model_float": float_probability(slices),
        },
        calibrated=has_frauds(slices["calibration_label"]),
        advice=verdicts["advice"],
        reasons=verdicts["reasons"],
        flags=verdicts["flags"],
        stay=slices.get("test_without_known_cards"),
        calibration_raw=verdicts["calibration_raw"],
        facts=run.facts(),
        decision=run.read(Metrics).decision,
        parity=run.read(Parity).plan,
    )


def _verdicts(run: RunFolder, tx: Transactions, fold: Fold, cold_start: bool) -> Arrays:
    """The pack's verdicts on the test rows: the stream from its first event, or from the fold on.

    Raises MismatchError when the stream gives another raw score than the network alone does on the
    inputs that training computed, unless the state was made cold.
    """
    from tinyfin.twin import Twin

    split = fold.split
    config = run.config()
    pack = run.pack_bytes()
    twin = Twin(pack, terminals=max(1, len(tx.terminals)))
    with stage(f"verdicts of {fold.name}"):
        found = replay_all(
            tx,
            twin,
            config.data.notices,
            _ANSWERS,
            until_s=split.test_until_s,
            since_s=split.until_s if cold_start else 0,
        )
    rows = split.test
    out = {name: values[rows] for name, values in found.items()}
    count = out.pop("reason_count")[:, None]
    there = np.arange(out["reasons"].shape[1])[None, :] < count
    out["reasons"] = np.where(there, out["reasons"], 0).astype(np.uint16)
    slices = run.slices()
    out["calibration_raw"] = twin.infer(slices["calibration"])[1]
    if not cold_start:
        alone = twin.infer(slices["test"])[1]
        wrong = int(np.count_nonzero(alone != out["raw"]))
        if wrong:
            raise MismatchError(
                f"{run.path}: {wrong} of {len(rows)} raw scores of the stream differ from those "
                "that training's own inputs give; do not use this pack, and report it"
            )
    return out


def _asked(
    tx: Transactions, fold: Fold, config: Config, baselines: Sequence[str], cold_start: bool
) -> str:
    """A hash over everything but code that a fold's figures depend on."""
    digest = hashlib.sha256()
    split = fold.split
    for rows in (split.fit, split.validation, split.calibration, split.test):
        digest.update(np.ascontiguousarray(rows).tobytes())
    digest.update(_fingerprint(tx, split.test_until_s).encode())
    sections = (config.features, config.model, config.decision, config.rules, config.data)
    digest.update(repr((fold.name, sections, list(baselines), cold_start)).encode())
    return digest.hexdigest()


def _fingerprint(tx: Transactions, until_s: int) -> str:
    """The transactions up to the end of the test, their labels included."""
    return tx.before(until_s).fingerprint()


@cache
def _code(*modules: str) -> str:
    """A hash over the sources of ``modules`` and of every module of tinyfin that they import,
    directly or not, and over the compiled engine."""
    from tinyfin.twin import _native

    digest = hashlib.sha256(Path(_native.__file__).read_bytes())
    for path in sorted(imported_files(*modules)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def imported_files(*modules: str) -> set[Path]:
    """The source files of ``modules`` and of what they import of tinyfin, however late, but for
    what only types need."""
    root = Path(tinyfin.__file__).parent.parent
    found: set[Path] = set()
    ahead = list(modules)
    while ahead:
        place = root.joinpath(*ahead.pop().split("."))
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if path in found or not path.is_file():
            continue
        found.add(path)
        code = [x for x in ast.parse(path.read_bytes()).body if not _of_types(x)]
        for node in chain.from_iterable(map(ast.walk, code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinyfin"):
                ahead += [str(node.module), *(f"{node.module}.{name.name}" for name in node.names)]
            elif isinstance(node, ast.Import):
                ahead += [name.name for name in node.names if name.name.startswith("tinyfin")]
    return found


def _of_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
