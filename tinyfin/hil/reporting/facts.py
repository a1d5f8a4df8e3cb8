# SPDX-License-Identifier: Apache-2.0
"""Collects what a report says, as JSON-ready values. What is not there is said, never invented."""

from __future__ import annotations

import json
import math
import shlex
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions, format_time
from tinyfin.errors import TinyfinError
from tinyfin.evaluation.curves import curves, score_histogram
from tinyfin.hil.reporting import detection
from tinyfin.hil.reporting.judge import checks, passed
from tinyfin.text import printable

__all__ = ["FORMAT", "clean", "collect"]

FORMAT = 1
"""Version of the report's JSON."""


_UNREADABLE = (
    TinyfinError,
    ImportError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    zipfile.BadZipFile,
)
"""What a file of a run may raise when it is missing, damaged or of another version."""


class _Missing:
    """What could not be said, and why."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def __call__(self, what: str, why: str) -> None:
        self.rows.append({"what": what, "why": why})

    def attempt(self, what: str, make: Callable[[], Any]) -> Any:
        """The value, or None and a row that says why there is none."""
        try:
            return make()
        except _UNREADABLE as error:
            self(what, str(error) or type(error).__name__)
            return None


def collect(
    replays: Sequence[Any],
    *,
    run_dir: Path | None,
    tx: Transactions | None,
    sizes: Mapping[str, Mapping[str, Any]] | None,
    commands: Sequence[str],
    date: str | None,
    title: str,
    more: Sequence[Mapping[str, Any]],
    example_hz: int,
) -> dict[str, Any]:
    """Everything the report says; :func:`tinyfin.hil.reporting.page.write` names the arguments."""
    missing = _Missing()
    given = [_mapping(replay) for replay in replays]
    if not given:
        missing("replay", "nothing was replayed")
    run = _run(run_dir, missing)
    pack = run.pop("pack", None)
    targets = [_target(replay, run_dir, sizes or {}) for replay in given]
    for target in targets:
        for key, name in (("flash", "flash"), ("ram", "RAM"), ("stack", "stack")):
            if f"{key}_bytes" not in target:
                missing(f"{name} on {target['name']}", "neither image nor replay say it")
    measured = _measured(replays, given, missing)
    found = checks(given, run["parity"], pack["pack_id"] if pack else None)
    facts = {
        "format": FORMAT,
        "title": title,
        "date": date,
        "verdict": {"pass": passed(found), "checks": found},
        "replays": given,
        "targets": targets,
        "instructions": measured,
        "example_hz": example_hz,
        "run": run["run"],
        "metrics": run["metrics"],
        "parity": run["parity"],
        "pack": pack,
        "data": _data(tx),
        "test_period": _test_period(run_dir, run, missing),
        "replayed": _replayed(replays, tx, run["run"], missing),
        "commands": list(commands) or _commands(given, run["run"], run_dir),
        "more": list(more),
        "missing": missing.rows,
    }
    cleaned: dict[str, Any] = clean(facts)
    return cleaned


def clean(value: Any) -> Any:
    """The value as JSON knows it: plain numbers, no NaN, text without control characters."""
    if isinstance(value, Mapping):
        return {printable(str(key)): clean(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return clean(value.tolist())
    if isinstance(value, (list, tuple)):
        return [clean(entry) for entry in value]
    if isinstance(value, np.generic):
        return clean(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, bytes):
        return value.hex()
    return printable(str(value))


def _mapping(replay: Any) -> dict[str, Any]:
    convert = getattr(replay, "as_dict", None)
    return dict(replay if convert is None else convert())


def _run(run_dir: Path | None, missing: _Missing) -> dict[str, Any]:
    out: dict[str, Any] = {"run": None, "metrics": None, "parity": None}
    if run_dir is None:
        missing("training, metrics and sizes of the pack", "no run folder was given")
        return out
    for name in out:
        out[name] = missing.attempt(
            f"{name}.json of the run", partial(_read_json, run_dir / f"{name}.json")
        )
    out["pack"] = missing.attempt("the pack's contents", lambda: _pack(run_dir / "model.tfpack"))
    return out


def _read_json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} does not hold an object")
    return found


def _pack(path: Path) -> dict[str, Any]:
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.explain import explain_pack
    from tinyfin.pack.trust import keys_beside

    return explain_pack(parse_pack(path.read_bytes(), keys=keys_beside(path)))


def _target(
    replay: Mapping[str, Any], run_dir: Path | None, sizes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What is known of a target: catalogue, image, and the replay's own words."""
    name = str(replay.get("target", "unknown"))
    out: dict[str, Any] = {"name": name}
    try:
        from tinyfin.targets.catalogue import get

        target = get(name)
        out["title"], out["core"] = target.title, target.core
        out["kind"] = (
            f"emulated: {' '.join(target.emulator.command[:3])}" if target.emulator else "hardware"
        )
        out["flash_available_bytes"] = target.flash_bytes
        out["ram_available_bytes"] = target.ram_bytes
    except TinyfinError:
        out["kind"] = "reached by its port; not in the catalogue"
    if replay.get("emulator") is not None:
        out["kind"] = str(replay["emulator"])
    image = run_dir / "firmware" / name / "image.json" if run_dir is not None else None
    # a target's name is a name of the catalogue by now, or there is no such file
    known: dict[str, Any] = {}
    if image is not None and "title" in out and image.is_file():
        try:
            known = _read_json(image)
        except (OSError, ValueError):
            known = {}
    for source in (known, replay, sizes.get(name, {})):
        for key in ("flash_bytes", "ram_bytes", "stack_bytes", "sections"):
            if source.get(key) is not None:
                out[key] = source[key]
    return out


def _measured(
    replays: Sequence[Any], given: Sequence[Mapping[str, Any]], missing: _Missing
) -> list[dict[str, Any]]:
    """Instructions per transaction of each replay that counted them."""
    out = []
    for replay, words in zip(replays, given, strict=True):
        target = str(words.get("target", "unknown"))
        counts = _array(replay, "instructions")
        told = words.get("instructions")
        if counts is not None and len(counts):
            facts = detection.instruction_facts(counts, _array(replay, "action"))
        elif isinstance(told, Mapping) and told.get("median") is not None:
            facts = dict(told)
            if "p99_9" not in facts and "p999" in facts:
                facts["p99_9"] = facts.pop("p999")
        else:
            missing(
                f"instructions per transaction on {target}",
                "the target counts none, or the replay did not ask for them",
            )
            continue
        if isinstance(told, Mapping) and told.get("parts"):
            facts["parts"] = dict(told["parts"])
        else:
            missing(
                f"instructions of features, network and reasons apart on {target}",
                "a replay counts a transaction as a whole; `tinyfin bench` counts the network",
            )
        out.append({"target": target, **facts})
    return out


def _array(replay: Any, name: str) -> npt.NDArray[Any] | None:
    found = None if isinstance(replay, Mapping) else getattr(replay, name, None)
    return found if isinstance(found, np.ndarray) else None


def _data(tx: Transactions | None) -> dict[str, Any] | None:
    if tx is None or not len(tx):
        return None
    return {
        "rows": len(tx),
        "terminals": len(np.unique(tx.terminal)),
        "frauds": int(np.count_nonzero(tx.label == 1)),
        "unlabelled": int(np.count_nonzero(tx.label < 0)),
        "from": format_time(int(tx.t_mono_s.min())),
        "to": format_time(int(tx.t_mono_s.max())),
        "fingerprint": tx.fingerprint(),
    }


def _test_period(
    run_dir: Path | None, run: Mapping[str, Any], missing: _Missing
) -> dict[str, Any] | None:
    """Curves of the run's test period, the int8 scores computed by the twin."""
    if run_dir is None:
        return None
    made: dict[str, Any] | None = missing.attempt(
        "score, precision-recall and calibration pictures of the test period",
        lambda: _curves(run_dir, missing),
    )
    return made


def _curves(run_dir: Path, missing: _Missing) -> dict[str, Any]:
    from tinyfin.training.run_metrics import baselines_of, float_probability

    with np.load(run_dir / "slices.npz") as arrays:
        slices = {name: arrays[name] for name in arrays.files}
    label = slices["test_label"]
    if len(np.unique(label[label >= 0])) < 2:
        raise ValueError("the test period has no fraud, or nothing but fraud")
    scores: dict[str, npt.NDArray[Any]] = {"model_float": slices["test_float"]}
    probability = {"model_float": float_probability(slices)}
    int8 = missing.attempt("int8 scores of the test period", lambda: _int8(run_dir, slices))
    if int8 is not None:
        scores = {"model_int8": int8[0], **scores}
        probability = {"model_int8": int8[1], **probability}
    scores |= dict(sorted(baselines_of(slices).items()))
    first = next(iter(probability))
    return {
        "rows": len(label),
        "frauds": int(np.count_nonzero(label == 1)),
        "scores_of": first,
        "scores": score_histogram(probability[first], label),
        **curves(label, scores, probability),
    }


def _int8(
    run_dir: Path, slices: Mapping[str, npt.NDArray[Any]]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.trust import keys_beside
    from tinyfin.training.calibration import probability
    from tinyfin.twin import Twin

    data = (run_dir / "model.tfpack").read_bytes()
    table = parse_pack(data).calibration
    if table is None:
        raise ValueError("the pack has no calibration")
    raw = Twin(data, keys=keys_beside(run_dir)).infer(slices["test"])[1]
    return raw, probability(table, raw)


def _replayed(
    replays: Sequence[Any],
    tx: Transactions | None,
    run: Mapping[str, Any] | None,
    missing: _Missing,
) -> dict[str, Any] | None:
    """What the terminal's own verdicts caught: of the first replay that has verdicts."""
    for replay in replays:
        row, action = _array(replay, "row"), _array(replay, "action")
        score = _array(replay, "score_q32")
        if row is not None and action is not None and score is not None and len(row):
            break
    else:
        missing("alerts and scores of the replay", "no verdicts were given to the report")
        return None
    if tx is None:
        missing("alerts and scores of the replay", "the transactions were not given to the report")
        return None
    later, until = _later(tx, row, run)
    out = {
        "target": str(_mapping(replay).get("target", "unknown")),
        "verdicts": len(row),
        "learned_until": until,
        "later_than_learning": int(np.count_nonzero(later)),
        "only_later": bool(np.any(later)),
    }
    use = later if out["only_later"] else np.ones(len(row), bool)
    out["scores"] = score_histogram(detection.replayed_probability(score[use]), tx.label[row[use]])
    out["caught"] = detection.caught(tx, row[use], action[use])
    if out["scores"] is None:
        missing("score distribution of the replay", "no replayed transaction has a label")
    return out


def _later(
    tx: Transactions, row: npt.NDArray[np.int64], run: Mapping[str, Any] | None
) -> tuple[npt.NDArray[np.bool_], str | None]:
    """Which replayed rows are later than everything that the model was trained on."""
    from tinyfin.config import parse_moment

    until = ((run or {}).get("split") or {}).get("until")
    try:
        at = parse_moment(until) if isinstance(until, str) else None
    except ValueError:
        at = None
    if at is None:
        return np.zeros(len(row), bool), None
    return tx.t_mono_s[row].astype(np.int64) >= at, until


def _commands(
    replays: Sequence[Mapping[str, Any]], run: Mapping[str, Any] | None, run_dir: Path | None
) -> list[str]:
    if run is None or run_dir is None:
        return []
    name = shlex.quote(str(run.get("name", run_dir.name)))
    data = run.get("data") or {}
    files = " ".join(shlex.quote(str(f.get("name"))) for f in data.get("files") or ()) or "DATA"
    split, model = run.get("split") or {}, run.get("model") or {}
    train = f"tinyfin train {files} --config runs/{name}/config.toml --name {name}-again"
    if split.get("until") is not None:
        train += f" --until {shlex.quote(str(split['until']))}"
    if model.get("seed") is not None:
        train += f" --seed {shlex.quote(str(model['seed']))}"
    lines = [train, f"tinyfin quantize runs/{name}"]
    for replay in replays:
        target = shlex.quote(str(replay.get("target", "TARGET")))
        lines.append(f"tinyfin flash runs/{name} --target {target}")
        command = f"tinyfin replay runs/{name} {files} --target {target}"
        for option, value in (replay.get("options") or {}).items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                command += f" --{option} {shlex.quote(str(one))}"
        lines.append(command)
    return lines
