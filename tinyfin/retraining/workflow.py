# SPDX-License-Identifier: Apache-2.0
"""From a request to a candidate in the registry, by the workflows of the single commands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tinyfin.config import Config
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.errors import InputError, MismatchError
from tinyfin.evaluation.gates import (
    failed_text,
    found_text,
    load_gate,
    require_fed,
    require_groups,
    require_known,
)
from tinyfin.evaluation.record import record
from tinyfin.evaluation.workflow import evaluate
from tinyfin.fleet.lake import day_number
from tinyfin.fleet.requests import answer, request_of
from tinyfin.pack.signing import Key
from tinyfin.pack.trust import require_trusted
from tinyfin.quantization.workflow import quantize
from tinyfin.registry.contents import gather
from tinyfin.registry.events import Event
from tinyfin.registry.registry import Registry
from tinyfin.release.page import refusal_text
from tinyfin.release.workflow import FOLDER, Options, release
from tinyfin.results.release import Release
from tinyfin.results.retraining import Retraining
from tinyfin.retraining.guards import capped, control_rows, sensitivity
from tinyfin.training.requirements import fed
from tinyfin.training.run_folder import RunFolder, making_run
from tinyfin.training.workflow import begin, finish

__all__ = ["Asked", "retrain"]

Note = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """Why, and what for."""

    cause: str
    """In words; that of the request if there is one."""
    request: int | None
    """Number of its event in the registry."""
    parent: Path
    """The .tfpack that terminals run."""
    parent_keys: Sequence[bytes] = ()
    """Public keys that it may be signed by."""
    without_control: bool = False
    influence: int = 3
    """Terminals that the model is trained without, one after the other."""
    gate: Path | None = None
    options: Options = field(default_factory=Options)
    """Of the release."""


def retrain(
    data: Sources,
    judged_on: Sources,
    config: Config,
    asked: Asked,
    registry: Registry,
    person: Key,
    *,
    name: str,
    out: str | Path = "runs",
    until_s: int | None = None,
    warmup: Sources = (),
    key: Key | None = None,
    note: Note = lambda _: None,
) -> tuple[Release, Event]:
    """Train ``out/name`` on ``data``, quantize, evaluate, release it on ``judged_on`` in the place
    of the parent, add it to the registry, and answer the request.

    ``key`` signs the pack, ``person`` the events. Ends at the first step that fails, with what that
    step raises: MismatchError for a gate, or a release that is refused. Raises InputError for a
    parent without control events, unless that is asked for.
    """
    with as_files(data) as paths, as_files(judged_on) as later:
        parent = require_trusted(asked.parent.read_bytes(), asked.parent_keys, asked.parent)
        request, cause = None, asked.cause
        registry.events()
        if asked.request is not None:
            found = request_of(registry, asked.request)
            request, cause = (
                found.name,
                f"{found.event.detail['cause']}: {asked.cause}".rstrip(": "),
            )
        bounds = None
        if asked.gate is not None:
            bounds = load_gate(asked.gate)
            require_known(asked.gate, bounds)
            require_groups(asked.gate, bounds, config.evaluate.slices)
            require_fed(asked.gate, bounds, fed(config, paths))
        with making_run(out, name, config) as made:
            begun = begin(made, paths, config, until_s, note=note)
            assert parent.decision is not None
            control = control_rows(begun.dataset.tx, parent.decision, begun.split.until_s)
            if not control and not asked.without_control:
                raise InputError(
                    f"{paths[0]}: none of the labelled transactions is a control event of pack "
                    f"{parent.pack_id.hex()}: a model of them learns nothing of what that pack "
                    "stops; give data of terminals with a [decision] control_share, or "
                    "--without-control"
                )
            split, cap = capped(begun.dataset.tx, begun.split, begun.config.model.seed)
            begun = replace(begun, split=split)
            note(
                f"no terminal gives more than {cap.share:.1%} of the rows to train on: {cap.rows} "
                f"rows of {cap.terminals} terminals are left out"
            )
            whole, influence, flips = sensitivity(begun, asked.influence)
            finish(begun, begun.config, note=note)
            made.write(
                Retraining(
                    cause=cause,
                    request=request,
                    parent=parent.pack_id.hex(),
                    control_rows=control,
                    without_control=asked.without_control,
                    cap=cap,
                    average_precision=whole,
                    influence=influence,
                    flips=flips,
                )
            )
        run = RunFolder(Path(out) / name)
        quantize(run, key=key, note=note)
        judged = evaluate(run, paths, note=note)
        record(judged, bounds)
        page = run.path / "evaluation.html"
        if failed := failed_text(asked.gate, judged.facts.gate, page, found_text):
            raise MismatchError(failed)
        keys = () if key is None else (key.public,)
        released = release(
            run,
            later,
            parent=asked.parent,
            parent_keys=asked.parent_keys,
            options=replace(asked.options, request=request),
            warmup=warmup,
            keys=keys,
            key=key,
            note=note,
        )
    if released.state == "refused":
        raise MismatchError(refusal_text(released, run.path, run.path / FOLDER))
    event = registry.add(gather(run.path, [run.path / Retraining.NAME]), person)
    if asked.request is not None:
        today = day_number(dt.datetime.now(dt.UTC).date())
        answer(registry, asked.request, today, person, pack=released.candidate.pack_id)
    return released, event
