# SPDX-License-Identifier: Apache-2.0
"""What a pack holds, as plain values for ``inspect`` and reports."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tinyfin.features.catalogue import FEATURES, reason_code, reason_text
from tinyfin.features.catalogue.reasons import own_texts
from tinyfin.features.operators import BY_CODE
from tinyfin.formats import OPERATOR, PACK_HEADER, ProgramHeader
from tinyfin.pack.container import Pack
from tinyfin.pack.decision import NEVER_Q32
from tinyfin.pack.drift import MONITOR_HEAD
from tinyfin.pack.layouts import name_of

__all__ = ["explain_pack", "program_features", "program_operators"]


def program_operators(program: bytes) -> list[str]:
    """Names of a PROG payload's operators, scoring then outcome."""
    header = ProgramHeader.read(program)
    starts = [header.score_at + OPERATOR.size * i for i in range(header.score_operators)]
    starts += [header.outcome_at + OPERATOR.size * i for i in range(header.outcome_operators)]
    return [BY_CODE[program[at]].name for at in starts]


def program_features(program: bytes) -> list[int]:
    """Feature ids of a PROG payload, in order."""
    header = ProgramHeader.read(program)
    return [
        int.from_bytes(
            program[header.features_at + 4 * i + 2 : header.features_at + 4 * i + 4], "little"
        )
        for i in range(header.features)
    ]


def explain_pack(pack: Pack) -> dict[str, Any]:
    """Everything there is to say about a pack, JSON-ready."""
    header = ProgramHeader.read(pack.program)
    network = pack.network
    arena = network["arena_bytes"] if network else 0
    operators = program_operators(pack.program)
    return {
        "kind": "pack",
        "pack_id": pack.pack_id.hex(),
        "model_id": pack.model_id.hex(),
        "layout": name_of(pack),
        "format_version": pack.format_version,
        "bytes": len(pack.data),
        "minimum_engine": ".".join(str(pack.minimum_engine >> s & 255) for s in (16, 8, 0)),
        "security_counter": pack.security_counter,
        "signed_by": "development key" if pack.development else f"key {pack.key_id:08x}",
        "signature": "verified" if pack.verified else "not checked: give the public key",
        "state_layout": pack.state_layout.hex(),
        "schema": pack.meta.get("schema"),
        "fields": _fields(pack),
        "features": _feature_names(pack),
        "operators": operators + [op["name"] for op in (network["operators"] if network else ())],
        "memory_bytes": header.memory_bytes(arena),
        "state_bytes": header.state_bytes,
        "scratch_bytes": header.memory_bytes(arena) - -(-header.state_bytes // 16) * 16,
        "program": _program(header, operators),
        "network": network,
        "readout": _plain(pack.readout),
        "calibration": _calibration(pack),
        "decision": _decision(pack),
        "probation": _probation(pack),
        "golden_vectors": len(pack.golden.raw) if pack.golden else 0,
        "monitor": _monitor(pack),
        "sections": {"header": PACK_HEADER.size, **{k: len(v) for k, v in pack.sections.items()}},
        "meta": {k: v for k, v in pack.meta.items() if k not in ("features", "fields", "schema")},
        "lineage": pack.lineage,
    }


def _monitor(pack: Pack) -> dict[str, Any] | None:
    """Of DRFT and LEVL; None without either."""
    drift, levels = pack.drift, pack.levels
    if drift is None and levels is None:
        return None
    found: dict[str, Any] = {"memory_bytes": drift.device_bytes if drift else MONITOR_HEAD}
    if drift:
        names = _feature_names(pack)
        found["score_bins"] = drift.score.bins
        found["features"] = {names[h.feature]: h.bins for h in drift.features}
    if levels:
        found["levels"] = [
            {"go_online": online / 2**32, "decline": decline / 2**32}
            for online, decline in levels.thresholds
        ]
        found["usual_level"] = levels.usual
        found["alerts_per_event"] = levels.target_q24 / 2**24
        found["step"] = {"events": levels.events, "seconds": levels.seconds}
    return found


def _feature_names(pack: Pack) -> list[str]:
    ids = program_features(pack.program)
    names = pack.meta.get("features")
    if (
        isinstance(names, list)
        and len(names) == len(ids)
        and all(isinstance(name, str) for name in names)
    ):
        return names
    known = {feature.id: feature.name for feature in FEATURES}
    return [known.get(i, f"feature_{i}") for i in ids]


def _fields(pack: Pack) -> list[dict[str, Any]]:
    names = pack.meta.get("fields")
    fields = [dict(field) for field in pack.fields]
    for i, field in enumerate(fields):
        if isinstance(names, list) and len(names) == len(fields):
            field["name"] = str(names[i])
        else:
            field["name"] = f"field_{i}"
    return fields


def _program(header: ProgramHeader, operators: list[str]) -> dict[str, Any]:
    return {
        "operators": len(operators),
        "registers": header.registers,
        "kept": header.kept,
        "pending": header.pending,
        "pending_entry_bytes": header.pending_entry_bytes,
        "terminal_state_bytes": header.terminal_state_bytes,
        "terminal_labels": header.terminal_labels,
        "cards": header.card_sets * header.card_ways,
        "card_slot_bytes": header.card_slot_bytes,
        "card_labels": header.card_labels,
    }


def _plain(part: Any) -> dict[str, Any] | None:
    return None if part is None else dict(vars(part))


def _calibration(pack: Pack) -> dict[str, Any] | None:
    table = pack.calibration
    if table is None:
        return None
    return {
        "knots": len(table.raw),
        "raw": [table.raw[0], table.raw[-1]],
        "probability": [table.p_q32[0] / 2**32, table.p_q32[-1] / 2**32],
    }


def _probation(pack: Pack) -> dict[str, Any] | None:
    bounds = pack.probation
    if bounds is None:
        return None
    return {
        **asdict(bounds),
        "parent": bounds.parent.hex(),
        "parent_cuts": [cut / 2**32 for cut in bounds.parent_cuts],
        "own_cuts": [cut / 2**32 for cut in bounds.own_cuts],
    }


def _decision(pack: Pack) -> dict[str, Any] | None:
    decision = pack.decision
    if decision is None:
        return None
    own = own_texts(pack.meta)
    never_decline = decision.never_decline
    online = decision.go_online_q32
    return {
        "go_online": None if decision.never_online else online / 2**32,
        "verify": None if decision.verify_q32 is None else decision.verify_q32 / 2**32,
        "decline": None if never_decline else decision.decline_q32 / 2**32,
        "only_at_the_top": online == NEVER_Q32,
        "shadow": decision.shadow,
        "control_share": decision.control_share_q16 / 65536,
        "cold_events": decision.cold_events,
        "cold_s": decision.cold_s,
        "reasons": {
            reason_code(reason): reason_text(reason, own) or "unknown to this version"
            for reason in sorted({*decision.reasons, *decision.below} - {0})
        },
    }
