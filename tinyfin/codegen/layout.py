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
from dataclasses import dataclass
from typing import Any

from tinyfin.errors import PackError
from tinyfin.features.catalogue.reasons import REASONS
from tinyfin.schema import built_in

__all__ = ["KERNEL_NAMES", "FieldLayout", "PackLayout", "kernel_names", "read_layout"]

_MAGIC = 0x4B504654
_FORMAT = 1
_HEADER_BYTES = 224
_SIGNED_BYTES = 160
_FLAGS_AT, _LAYOUT_AT = 20, 36
_SECTION_BYTES = 16
_ALIGN = 16
_STATE_HEAD = 64
_IMAGE_HEAD = 64
_TYPES = ("i32", "i64", "u64", "enum")
#: network kernels, by the bit of the plan's kernel mask (docs/formats/plan.md)
KERNEL_NAMES = (
    "FULLY_CONNECTED",
    "TABLE",
    "SOFTMAX",
    "ADD",
    "MUL",
    "SQUARED_DIFFERENCE",
    "REDUCE",
    "COPY",
    "DENSITY",
    "FOREST",
)
_REASON_COUNT_AT, _REASONS_AT = 20, 24
_AS_ABOVE, _NO_REASON = 0, 255
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


def kernel_names(mask: int) -> list[str]:
    """Names of a mask's kernels; a bit that this version does not know as ``kernel 2^n``."""
    return [
        KERNEL_NAMES[bit] if bit < len(KERNEL_NAMES) else f"kernel 2^{bit}"
        for bit in range(32)
        if mask >> bit & 1
    ]


def read_layout(pack: bytes) -> PackLayout:
    """Read a pack. Raises PackError, naming what is wrong."""
    if len(pack) < _HEADER_BYTES or struct.unpack_from("<I", pack)[0] != _MAGIC:
        raise PackError("these bytes are no tinyfin pack; make one with `tinyfin quantize`")
    version, _, total, minimum, counter = struct.unpack_from("<HHIII", pack, 4)
    if version > _FORMAT:
        raise PackError(f"the pack is of format {version}, known is {_FORMAT}; update tinyfin")
    if total != len(pack):
        raise PackError(f"the pack has {len(pack)} bytes, its header says {total}; copy it again")
    sections = _sections(pack)
    for tag in ("SCHM", "PROG"):
        if tag not in sections:
            raise PackError(f"the pack has no section {tag}; make it again")
    meta = _meta(sections.get("META"))
    body, working, features = _program_sizes(sections["PROG"])
    plan = sections.get("PLAN")
    arena = inputs = outputs = kernels = 0
    if plan is not None:
        (kernels,) = struct.unpack_from("<I", plan, 12)
        (arena,) = struct.unpack_from("<I", plan, 16)
        (inputs,) = struct.unpack_from("<I", plan, 28)
        (outputs,) = struct.unpack_from("<I", plan, 36)
    scratch = working[0] + max(working[1], arena)
    pending, cards = _capacities(sections["PROG"])
    name, record, fields = _schema(sections["SCHM"], meta)
    return PackLayout(
        pack_id=hashlib.blake2b(pack[:_SIGNED_BYTES], digest_size=32).digest()[:16].hex(),
        pack_bytes=len(pack),
        format=version,
        engine_minimum=minimum,
        memory_bytes=_up(body) + scratch,
        state_bytes=_IMAGE_HEAD + body,
        scratch_bytes=scratch,
        arena_bytes=arena,
        pending=pending,
        cards=cards,
        record_bytes=record,
        features=features,
        inputs=inputs,
        outputs=outputs,
        schema_name=name,
        fields=fields,
        feature_names=tuple(str(feature) for feature in meta.get("features", ())),
        reasons=_reasons(sections.get("DECI")),
        kernels=kernels,
        layout=struct.unpack_from("<I", pack, _LAYOUT_AT)[0],
        security_counter=counter,
        development=bool(struct.unpack_from("<I", pack, _FLAGS_AT)[0] & 1),
        record=tuple(
            struct.unpack_from("<I", sections["SCHM"], 8 + 16 * i)[0] for i in range(len(fields))
        ),
    )


def _reasons(decision: bytes | None) -> tuple[tuple[int, str], ...]:
    """Reasons that the pack can give, by number, with their texts."""
    if decision is None:
        return ()
    (count,) = struct.unpack_from("<H", decision, _REASON_COUNT_AT)
    numbers = set()
    for above, _, below in struct.iter_unpack("<HbB", decision[_REASONS_AT:][: 4 * count]):
        numbers |= {above, above if below in (_AS_ABOVE, _NO_REASON) else below}
    return tuple((number, REASONS.get(number, "")) for number in sorted(numbers - {0}))


def _up(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _sections(pack: bytes) -> dict[str, bytes]:
    found = {}
    at = _HEADER_BYTES
    while at + _SECTION_BYTES <= len(pack):
        tag, size = struct.unpack_from("<4sI", pack, at)
        at += _SECTION_BYTES
        if at + size > len(pack):
            raise PackError(f"section {tag!r} ends after the pack; copy the pack again")
        found[tag.decode("ascii", "replace")] = pack[at : at + size]
        at += _up(size)
    return found


def _meta(section: bytes | None) -> dict[str, Any]:
    if section is None:
        return {}
    try:
        meta = json.loads(section)
    except ValueError as error:
        raise PackError(f"section META is not JSON: {error}") from error
    return meta if isinstance(meta, dict) else {}


def _program_sizes(program: bytes) -> tuple[int, tuple[int, int], int]:
    """State body; (features and a spare pending entry, registers); number of features.

    Mirrors ``tfin_lay_out``: registers share their place with the network's arena.
    """
    registers, _, _, _, features, pending, entry = struct.unpack_from("<7H", program, 2)
    terminal, slot, sets, ways, _, labels, _ = struct.unpack_from("<IHHBBHH", program, 16)
    body = _STATE_HEAD + pending * entry + terminal
    body += 8 + 8 * labels if labels else 0
    body += sets * ways * slot
    return body, (_up(2 * features) + _up(entry), _up(8 * registers)), features


def _capacities(program: bytes) -> tuple[int, int]:
    """Pending transactions, cards."""
    (pending,) = struct.unpack_from("<H", program, 12)
    _, _, sets, ways = struct.unpack_from("<IHHB", program, 16)
    return pending, sets * ways


def _schema(section: bytes, meta: dict[str, Any]) -> tuple[str, int, tuple[FieldLayout, ...]]:
    count, record = struct.unpack_from("<HH", section)
    name = str(meta.get("schema", "event"))
    names = [str(field) for field in meta.get("fields", ())]
    known = built_in(name)
    values, units = meta.get("values", {}), meta.get("units", {})
    if names and len(names) != count:
        raise PackError(f"META names {len(names)} fields, SCHM has {count}; make the pack again")
    fields = []
    for i in range(count):
        code, flags, offset, count_of_values = struct.unpack_from("<BBHI", section, 8 + 16 * i)
        if code >= len(_TYPES):
            raise PackError(f"field {i} is of the unknown type {code}; update tinyfin")
        field = names[i] if names else f"field_{i}"
        own = known.get(field)
        if own is None or field in values or field in units:
            named, unit, doc = values.get(field, ()), units.get(field, ""), ""
        else:
            named, unit, doc = own.values, own.unit, own.doc
        named = tuple(map(str, named)) if len(named) == count_of_values else ()
        fields.append(
            FieldLayout(field, _TYPES[code], offset, bool(flags & 1), named, str(unit), doc)
        )
    for word in (name, *(field.name for field in fields)):
        if not _NAME.match(word):
            raise PackError(f"META: {word!r} is no C name in lower case; make the pack again")
    return name, record, tuple(fields)
