# SPDX-License-Identifier: Apache-2.0
"""What code generation needs to know of a pack: sizes, the record, names. Standard library only.

Reads the sections by ``docs/formats/pack.md``; sizes follow ``docs/formats/program.md``. It trusts
nothing but checks little: the engine is who refuses packs.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinyfin.errors import PackError
from tinyfin.features.catalogue.reasons import own_texts, reason_text
from tinyfin.formats import (
    DECISION_ENTRY,
    DECISION_HEAD,
    DEVELOPMENT,
    FIELD_ENTRY,
    FIELD_TYPES,
    IMAGE_HEAD_BYTES,
    NO_REASON_BELOW,
    PACK_FORMAT,
    PACK_HEADER,
    PACK_MAGIC,
    REASON_AS_ABOVE,
    SCHEMA_HEAD,
    SIGNED_BYTES,
    PackHeader,
    PlanHeader,
    ProgramHeader,
    sections_of,
)
from tinyfin.schema import built_in

__all__ = ["FieldLayout", "PackLayout", "read_layout"]

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True)
class FieldLayout:
    """One field of the record; ``offset`` in bytes. ``values`` are names of an enum's values."""

    name: str
    type: str
    offset: int
    ram_only: bool
    values: tuple[str, ...]
    unit: str
    doc: str


_MONITOR_HEAD = 16  # of a monitor's memory, before its counts


@dataclass(frozen=True)
class PackLayout:
    """Sizes in bytes, counts, names. Names are made up where the pack has no META."""

    pack_id: str
    pack_bytes: int
    format: int
    engine_minimum: int
    memory_bytes: int
    state_bytes: int
    scratch_bytes: int
    """Of the memory, what holds nothing between two calls."""
    arena_bytes: int
    """Of the scratch, what the network needs."""
    verifies: bool
    """The pack has a threshold of VERIFY."""
    monitor_bytes: int
    """Memory of a monitor; 0: the pack has neither DRFT nor LEVL."""
    pending: int
    """Transactions that may wait for their outcome."""
    cards: int
    """Cards that the table holds at most."""
    record_bytes: int
    features: int
    inputs: int
    outputs: int
    schema_name: str
    fields: tuple[FieldLayout, ...]
    feature_names: tuple[str, ...]
    reasons: tuple[tuple[int, str], ...]
    kernels: int
    """Mask of the kernels that the network needs; 0 without a network."""
    layout: int
    """Layout id of the weights; 0 is canonical."""
    security_counter: int
    development: bool
    """Signed by the public development key."""
    record: tuple[int, ...]
    """Of each field the word that its entry in SCHM begins with: type, flags, offset."""


def read_layout(pack: bytes) -> PackLayout:
    """Read a pack. Raises PackError, naming what is wrong."""
    if len(pack) < PACK_HEADER.size or PackHeader.read(pack).magic != PACK_MAGIC:
        raise PackError("these bytes are no tinyfin pack; make one with `tinyfin quantize`")
    header = PackHeader.read(pack)
    if header.version > PACK_FORMAT:
        raise PackError(
            f"the pack is of format {header.version}, known is {PACK_FORMAT}; update tinyfin"
        )
    if (total := header.total_bytes) != len(pack):
        raise PackError(f"the pack has {len(pack)} bytes, its header says {total}; copy it again")
    sections = sections_of(pack)
    for tag in ("SCHM", "PROG"):
        if tag not in sections:
            raise PackError(f"the pack has no section {tag}; make it again")
    meta = _meta(sections.get("META"))
    program = ProgramHeader.read(sections["PROG"])
    plan = PlanHeader.read(sections["PLAN"]) if "PLAN" in sections else None
    arena = plan.arena_bytes if plan else 0
    name, record, fields = _schema(sections["SCHM"], meta)
    return PackLayout(
        pack_id=hashlib.blake2b(pack[:SIGNED_BYTES], digest_size=32).digest()[:16].hex(),
        pack_bytes=len(pack),
        format=header.version,
        engine_minimum=header.engine,
        memory_bytes=program.memory_bytes(arena),
        state_bytes=IMAGE_HEAD_BYTES + program.state_bytes,
        scratch_bytes=program.scratch_bytes(arena),
        arena_bytes=arena,
        verifies="DECI" in sections and DECISION_HEAD.unpack_from(sections["DECI"])[-1] > 0,
        monitor_bytes=_monitor_bytes(sections),
        pending=program.pending,
        cards=program.card_sets * program.card_ways,
        record_bytes=record,
        features=program.features,
        inputs=plan.input_length if plan else 0,
        outputs=plan.output_length if plan else 0,
        schema_name=name,
        fields=fields,
        feature_names=tuple(str(feature) for feature in meta.get("features", ())),
        reasons=_reasons(sections.get("DECI"), own_texts(meta)),
        kernels=plan.kernels if plan else 0,
        layout=header.layout,
        security_counter=header.security_counter,
        development=bool(header.flags & DEVELOPMENT),
        record=tuple(
            struct.unpack_from("<I", sections["SCHM"], SCHEMA_HEAD.size + FIELD_ENTRY.size * i)[0]
            for i in range(len(fields))
        ),
    )


def _monitor_bytes(sections: Mapping[str, bytes]) -> int:
    """Of DRFT the counts: a score's entry, then one per feature (formats/probation.md)."""
    drift = sections.get("DRFT")
    if drift is None:
        return _MONITOR_HEAD if "LEVL" in sections else 0
    size, at, edge = _MONITOR_HEAD, 0, 4
    for _ in range(drift[0] + 1):
        bins = drift[at + 1]
        size += 2 * bins
        at += 4 + edge * (bins - 1) + 2 * bins
        edge = 2
    return size


def _reasons(decision: bytes | None, own: Mapping[int, str]) -> tuple[tuple[int, str], ...]:
    """Reasons that the pack can give, by number, with their texts."""
    if decision is None:
        return ()
    *_, count, _ = DECISION_HEAD.unpack_from(decision)
    entries = decision[DECISION_HEAD.size :][: DECISION_ENTRY.size * count]
    numbers = set()
    for above, _, below in DECISION_ENTRY.iter_unpack(entries):
        numbers |= {above, above if below in (REASON_AS_ABOVE, NO_REASON_BELOW) else below}
    return tuple((number, reason_text(number, own) or "") for number in sorted(numbers - {0}))


def _meta(section: bytes | None) -> dict[str, Any]:
    if section is None:
        return {}
    try:
        meta = json.loads(section)
    except ValueError as error:
        raise PackError(f"section META is not JSON: {error}") from error
    return meta if isinstance(meta, dict) else {}


def _schema(section: bytes, meta: dict[str, Any]) -> tuple[str, int, tuple[FieldLayout, ...]]:
    count, record, _ = SCHEMA_HEAD.unpack_from(section)
    name = str(meta.get("schema", "event"))
    names = [str(field) for field in meta.get("fields", ())]
    known = built_in(name)
    values, units = meta.get("values", {}), meta.get("units", {})
    if names and len(names) != count:
        raise PackError(f"META names {len(names)} fields, SCHM has {count}; make the pack again")
    fields = []
    for i in range(count):
        code, flags, offset, count_of_values, _ = FIELD_ENTRY.unpack_from(
            section, SCHEMA_HEAD.size + FIELD_ENTRY.size * i
        )
        if code >= len(FIELD_TYPES):
            raise PackError(f"field {i} is of the unknown type {code}; update tinyfin")
        field = names[i] if names else f"field_{i}"
        own = known.get(field)
        if own is None or field in values or field in units:
            named, unit, doc = values.get(field, ()), units.get(field, ""), ""
        else:
            named, unit, doc = own.values, own.unit, own.doc
        named = tuple(map(str, named)) if len(named) == count_of_values else ()
        fields.append(
            FieldLayout(field, FIELD_TYPES[code], offset, bool(flags & 1), named, str(unit), doc)
        )
    for word in (name, *(field.name for field in fields)):
        if not _NAME.match(word):
            raise PackError(f"META: {word!r} is no C name in lower case; make the pack again")
    return name, record, tuple(fields)
