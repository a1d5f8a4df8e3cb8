# SPDX-License-Identifier: Apache-2.0
"""Another decision for the same model: thresholds, budgets, costs, reasons, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from pydantic import ValidationError

from tinyfin import files
from tinyfin.config import DecisionSection
from tinyfin.config.toml import read_toml
from tinyfin.errors import ConfigError, ModelError
from tinyfin.output_claims import claimed
from tinyfin.pack.container import parse_pack, sign_again
from tinyfin.pack.layouts import remove_layouts, replace_pack, write_layouts
from tinyfin.pack.sections import encode_json
from tinyfin.pack.signing import Key
from tinyfin.pack.trust import keys_beside, require_trusted
from tinyfin.quantization.workflow import assemble
from tinyfin.results.metrics import DecisionFacts, Metrics, Population, Savings
from tinyfin.training.run_folder import RunFolder, changing_run, open_run
from tinyfin.training.run_metrics import savings_of
from tinyfin.training.thresholds import realised

__all__ = ["Recounted", "Repacked", "load_rules", "other_decision", "recount", "repack"]


class Repacked(TypedDict):
    """What :func:`repack` did."""

    run: str
    pack: str
    model_id: str
    pack_id: str
    parent: str
    before: DecisionFacts | None
    decision: DecisionFacts
    alert_minor: float
    savings: dict[Population, dict[str, Savings]]


class Recounted(TypedDict):
    """What :func:`recount` did."""

    pack: str
    model_id: str
    pack_id: str
    parent: str
    security_counter: int
    security_counter_before: int


def load_rules(path: str | Path) -> DecisionSection:
    """The [decision] of a TOML file that holds nothing else. Raises ConfigError."""
    table = read_toml(path)
    if set(table) != {"decision"} or not isinstance(table["decision"], dict):
        raise ConfigError(f"{path}: give one table, [decision], and nothing else")
    return _checked(table["decision"], str(path))


def other_decision(
    section: DecisionSection,
    *,
    threshold: float | None = None,
    verify_threshold: float | None = None,
    decline_threshold: float | None = None,
    per_1000: float | None = None,
    per_terminal_week: float | None = None,
    false_alert_cost: float | None = None,
    confidence: float | None = None,
) -> DecisionSection:
    """``section`` with what is not None. Raises ConfigError.

    What is given is meant to take effect: a budget or a cost takes the place of a probability that
    was chosen, a budget alone that of costs and of the other budget, a cost alone that of the
    budgets; a probability, or a cost alone, that of a confidence. A budget and a cost go together.
    """
    table = section.model_dump(exclude_unset=True)
    budget = per_1000 is not None or per_terminal_week is not None
    if budget or false_alert_cost is not None:
        for name in ("go_online", "go_online_per_1000", "go_online_per_terminal_week"):
            table.pop(name, None)
    if budget and false_alert_cost is None:
        table.pop("costs", None)
    if threshold is not None or (false_alert_cost is not None and not budget):
        table.pop("confidence", None)
    if false_alert_cost is not None:
        table["costs"] = {**table.get("costs", {}), "go_online_minor": false_alert_cost}
    given = {
        "go_online": threshold,
        "verify": verify_threshold,
        "decline": decline_threshold,
        "go_online_per_1000": per_1000,
        "go_online_per_terminal_week": per_terminal_week,
        "confidence": confidence,
    }
    return _checked(table | {k: v for k, v in given.items() if v is not None}, "repack")


def _checked(table: Mapping[str, object], where: str) -> DecisionSection:
    try:
        return DecisionSection.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["decision", *map(str, first["loc"])])
        raise ConfigError(
            f"{where}: {key} = {first['input']!r}: {first['msg'].removeprefix('Value error, ')}"
        ) from error


def repack(
    run: RunFolder | str | Path,
    section: DecisionSection,
    *,
    key: Key | None = None,
    security_counter: int | None = None,
    keys: Sequence[bytes] | None = None,
) -> Repacked:
    """Write ``model.tfpack`` again with another decision; thresholds are set on the calibration
    rows, as always.

    Signed by ``key`` as quantize does it; the security counter stays if None. ``keys``: public keys
    of which one signed the pack that is there; the run's own if None. Raises ModelError
    when the run has no pack, or would make another model than the one that is in it; ConfigError
    for a feature that is not there.
    """
    run = open_run(run)
    trusted = keys_beside(run.path) if keys is None else keys
    with claimed(run.path):
        return _repack(run, section, key, security_counter, trusted)


def _repack(
    run: RunFolder,
    section: DecisionSection,
    key: Key | None,
    security_counter: int | None,
    trusted: Sequence[bytes],
) -> Repacked:
    from tinyfin.twin import Twin

    old = require_trusted(run.pack_bytes(), trusted, run.pack)
    if not old.development and key is None:
        raise ModelError(
            f"{run.pack}: is signed by a release key; sign the new one, too, with --key FILE"
        )
    facts, slices = run.facts(), run.slices()
    integers = run.path / "model.json"
    file = integers.read_bytes() if integers.is_file() else run.file("model.tflite").read_bytes()
    made = assemble(
        run,
        file,
        facts,
        slices,
        key=key,
        section=section,
        parent=old.pack_id.hex(),
        security_counter=old.security_counter if security_counter is None else security_counter,
    )
    keys = () if key is None else (key.public,)
    new = parse_pack(made.pack, keys=keys)
    if new.model_id != old.model_id or new.plan != old.plan or new.calibration != old.calibration:
        raise ModelError(
            f"{run.path}: its files make another model than {run.pack} holds; run "
            "`tinyfin quantize` first"
        )
    test = made.scores(Twin(made.pack, keys=keys), slices["test"])
    alert_minor = run.config().evaluate.alert_minor(section)
    stands = realised(
        section,
        made.decision,
        made.calibration,
        slices,
        {"calibration": made.raw, "test": test},
        facts.data.drawn,
        alert_minor,
    )
    metrics = run.read(Metrics)
    before, metrics.decision = metrics.decision, stands
    metrics.alert_minor = alert_minor
    metrics.savings = savings_of(slices, "model_int8", test, made.alerts(test), alert_minor)
    with changing_run(run) as changed:
        changed.write(metrics)
        replace_pack(changed.pack, made.pack, key)
    return {
        "run": str(run.path),
        "pack": str(run.pack),
        "model_id": new.model_id.hex(),
        "pack_id": new.pack_id.hex(),
        "parent": old.pack_id.hex(),
        "before": before,
        "decision": stands,
        "alert_minor": alert_minor,
        "savings": metrics.savings,
    }


def recount(path: Path, security_counter: int, *, key: Key | None = None) -> Recounted:
    """Write the pack at ``path`` again with another security counter and nothing else changed.

    Raises PackError when ``key`` is not the one that signed it.
    """
    with claimed(path):
        keys = keys_beside(path) if key is None else (key.public,)
        old = require_trusted(path.read_bytes(), keys, path)
        lineage = encode_json({**old.lineage, "parent": old.pack_id.hex()})
        made = sign_again(
            old, key, sections={**old.sections, "LINE": lineage}, security_counter=security_counter
        )
        remove_layouts(path)
        files.write(path, made)
        if key is not None and not old.development:
            write_layouts(path, key=key)
    new = parse_pack(made, keys=keys)
    return {
        "pack": str(path),
        "model_id": new.model_id.hex(),
        "pack_id": new.pack_id.hex(),
        "parent": old.pack_id.hex(),
        "security_counter": new.security_counter,
        "security_counter_before": old.security_counter,
    }
