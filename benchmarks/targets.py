# SPDX-License-Identifier: Apache-2.0
"""Measurements for ``make bench``: networks, opening a pack, budgets against other data.

Everything is counted in the guest, in instructions. ``python -m benchmarks`` writes the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.data.events import event_stream
from tinyfin.errors import BudgetError
from tinyfin.measure import instrument
from tinyfin.measure import pack_costs as budgets
from tinyfin.measure.network_costs import bench
from tinyfin.pack.container import build_pack, parse_pack, with_sections
from tinyfin.pack.drift_making import LARGE_BYTES, SMALL_BYTES, drift_section
from tinyfin.pack.levels import levels_section
from tinyfin.pack.maps import InputMap
from tinyfin.pack.plan import compile_plan, describe, repack
from tinyfin.pack.signing import DEVELOPMENT_KEY
from tinyfin.schema import Field, Schema
from tinyfin.targets import catalogue, flash
from tinyfin.targets.build import BuildResult
from tinyfin.targets.catalogue import Target
from tinyfin.tflite.model import load
from tinyfin.twin import Twin, pack_monitor

__all__ = [
    "Case",
    "budget_row",
    "network_code",
    "network_only",
    "networks",
    "opening",
    "watched_row",
]

_ARENA_AT = 16
_MODEL_ROWS = 64
_STAND_IN = "cortex-m4"
"""Where the code of a smaller Cortex-M runs when the model does not fit that core's own board."""
OTHER_DATA = {"terminals": 2, "days": 12, "seed": 11}
OTHER_EVENTS = 2000
MONITOR_HANDLE_BYTES = 24
"""Four pointers, and how the id of a pack begins."""


@dataclass(frozen=True)
class Case:
    """A network: its .tflite, int8 inputs [n, ...], and outputs that are right, when known."""

    name: str
    model: Path
    inputs: npt.NDArray[np.int8]
    expected: npt.NDArray[np.int8]

    @property
    def rows(self) -> int:
        """Inferences that are counted: fewer of a large network."""
        return min(len(self.inputs), 6 if self.model.stat().st_size > 1 << 16 else _MODEL_ROWS)


def networks(target: Target, cases: list[Case]) -> list[dict[str, Any]]:
    """One row per network: instructions of an inference, bytes that differ, sizes."""
    made: list[dict[str, Any]] = []
    builds: dict[tuple[str, bool, str | None], BuildResult] = {}

    def built(machine: str, portable: bool = False, code_of: str | None = None) -> BuildResult:
        key = machine, portable, code_of
        if key not in builds:
            builds[key] = instrument.build(machine, portable=portable, code_of=code_of)
        return builds[key]

    for case in cases:
        plan = repack(compile_plan(load(case.model)), target.layout)
        image, code_of, note = built(target.name), None, ""
        if len(plan) + 65536 > instrument.room(image) and len(plan) > 1 << 16:
            if target.core not in ("Cortex-M0", "Cortex-M0+"):
                made.append(
                    {
                        "target": target.name,
                        "network": case.name,
                        "instructions": None,
                        "note": f"{len(plan)} B of plan do not fit its flash",
                    }
                )
                continue
            code_of = target.name
            image = built(_STAND_IN, code_of=code_of)
            note = f"same code, run on {image.target.title}"
        x = case.inputs.reshape(len(case.inputs), -1)[: case.rows]
        y = case.expected.reshape(len(case.expected), -1)[: case.rows]
        found = instrument.run(
            image, instrument.Tape().network(plan, x, y, ticks=True), icount=True
        )
        counts = [found.instructions(n[0]) for n in found.numbers("row")]
        portable = built(image.target.name, True, code_of)
        tape = instrument.Tape().network(compile_plan(load(case.model)), x[:1], y[:1], ticks=True)
        plain = instrument.run(portable, tape, icount=True)
        made.append(
            {
                "target": target.name,
                "network": case.name,
                "inferences": len(counts),
                "instructions": int(np.median(counts)),
                "instructions_min": min(counts),
                "instructions_max": max(counts),
                "portable": plain.instructions(plain.numbers("row")[0][0]),
                "differing_bytes": found.differing + plain.differing,
                "plan_bytes": len(plan),
                **_work(plan),
                "scratch_bytes": int.from_bytes(plan[_ARENA_AT : _ARENA_AT + 4], "little"),
                "note": note,
            }
        )
    return made


def _work(plan: bytes) -> dict[str, int]:
    """Multiply-accumulates, outputs and inputs of the fully connected layers."""
    layers = [op for op in describe(plan)["operators"] if op["name"] == "FULLY_CONNECTED"]
    return {key: sum(op[key] for op in layers) for key in ("macs", "outputs", "inputs")}


def network_code(target: Target, case: Case) -> dict[str, Any]:
    """Flash of what a network of this kind links, without weights, and the stack of a run."""
    result = bench(case.model, target.name, case.inputs[:4], case.expected[:4])
    return {
        "target": target.name,
        "network": case.name,
        "code_bytes": result.code_bytes,
        "stack_bytes": result.stack_bytes,
    }


def opening(target: Target, pack: bytes) -> dict[str, Any]:
    """Instructions of opening a pack, by part.

    ``whole``: tfin_open, the sum of the parts. ``open``: tfin_bind, that is what is left once a
    pack is verified, without its golden vectors.
    ``golden``: the inferences of these. ``contents``: what tfin_verify spends on the contents of
    the sections, ``hash`` per byte and ``signature`` the rest of it.
    """
    image = instrument.build(target)
    tape = instrument.Tape().add(instrument.PACK, pack, 1)
    vectors = parse_pack(pack).golden
    for one in vectors.inputs if vectors is not None else ():
        # each on a word's boundary, where it is in the pack, too: copying takes as long
        tape.add(instrument.INFER, one.tobytes(), 1)
    exact = instrument.run(image, tape, icount=True)
    [(verifying, hashing, checking)] = exact.numbers("verified")
    [(binding, _, _)] = exact.numbers("bound")
    [(hashed_bytes, _, _)] = exact.numbers("hashed")
    golden = sum(exact.instructions(ticks) for ticks, *_ in exact.numbers("inferred"))
    mask = 0xFFFFFF if target.architecture == "arm" else 0xFFFFFFFF
    coarse = instrument.run(image, tape, icount=True, shift=0)
    [(_, _, signature)] = coarse.numbers("verified")
    signing = coarse.instructions(signature)
    integrity = exact.instructions((verifying - checking) & mask) + signing
    return {
        "target": target.name,
        "whole_instructions": integrity + exact.instructions(binding),
        "open_instructions": exact.instructions(binding) - golden,
        "golden_instructions": golden,
        "contents_instructions": exact.instructions((verifying - hashing - checking) & mask),
        "hashed_bytes": hashed_bytes,
        "hash_instructions_per_byte": round(exact.instructions(hashing) / hashed_bytes, 1),
        "signature_instructions": signing,
    }


def network_only(pack: bytes) -> bytes:
    """A pack of the same network and nothing else: each feature is a field of the event."""
    from tinyfin.features.compiler import compile_program
    from tinyfin.features.definition import OWN_FEATURE_ID, Feature
    from tinyfin.features.expressions import field

    given = parse_pack(pack)
    assert given.network is not None
    names = [f"x{i}" for i in range(given.network["input_length"])]
    schema = Schema("network", tuple(Field(name, "i32") for name in names))
    features = [
        Feature(name, OWN_FEATURE_ID + i, 0, name, "", "before", field(name))
        for i, name in enumerate(names)
    ]
    return build_pack(
        schema,
        compile_program(features, schema, pending=1),
        maps=[InputMap((-128, 127), (-128, 127))] * len(names),
        plan=given.plan,
        readout=given.readout,
        calibration=given.calibration,
        decision=given.decision,
        golden=given.golden,
        model=given.model_id,
    )


def watched_row(target_name: str, pack: Path) -> dict[str, Any]:
    """What it costs to count drift, to keep an alert budget, and to score a second pack in the
    shadow: as `tinyfin budget` predicts it, and on other data."""
    target = catalogue.get(target_name)
    small = target.ram_bytes <= 16 << 10  # TFIN_WIRE_SMALL
    train = budgets.default_data()
    stream = event_stream(train, "both")
    parsed = parse_pack(flash.target_pack(pack, target).read_bytes())
    scored = Twin(parsed.data, terminals=len(train.terminals)).run(train, stream)
    assert parsed.decision is not None
    drift = drift_section(
        scored.features,
        scored.score_q32,
        train.terminal,
        train.t_mono_s,
        most_bytes=SMALL_BYTES if small else LARGE_BYTES,
    )
    levels = levels_section(scored.score_q32, parsed.decision, span=1)
    watched = with_sections(
        parsed, {"DRFT": drift.encode(), "LEVL": levels.encode()}, DEVELOPMENT_KEY
    )
    other = budgets.default_data(**OTHER_DATA)
    predicted, measured = (
        budgets.count(target, watched, data, event_stream(data, "both"), events)
        for data, events in ((train, budgets.EVENTS), (other, OTHER_EVENTS))
    )
    return {
        "score_bins": len(drift.score.weights),
        "features": len(drift.features),
        "monitor_bytes": pack_monitor(watched) + MONITOR_HANDLE_BYTES,
        "probation_bytes": predicted.probation_bytes,
        "monitor_predicted": predicted.monitor_max,
        "monitor_measured": measured.monitor_max,
        "shadow_predicted": predicted.shadow_max,
        "shadow_measured": measured.shadow_max,
    }


def budget_row(target_name: str, pack: Path) -> dict[str, Any]:
    """A budget as `tinyfin budget` predicts it, and the same pack on other data."""
    target = catalogue.get(target_name)
    try:
        found = budgets.budget(pack, target_name)
    except BudgetError as error:
        return {"target": target_name, "error": str(error)}
    data = budgets.default_data(**OTHER_DATA)
    counted = budgets.count(
        target,
        flash.target_pack(pack, target).read_bytes(),
        data,
        event_stream(data, "both"),
        OTHER_EVENTS,
    )
    return {
        **found.as_dict(),
        "measured": {
            "events": len(counted.scores),
            "median": int(np.median(counted.scores)),
            "p99_9": int(np.percentile(counted.scores, 99.9, method="higher")),
            "max": int(counted.scores.max()),
        },
    }
