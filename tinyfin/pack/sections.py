# SPDX-License-Identifier: Apache-2.0
"""Sections that need no class of their own: schema, JSON; and how sections are strung together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tinyfin.errors import PackError
from tinyfin.formats import (
    ALIGN,
    CRITICAL_TAGS,
    FIELD_ENTRY,
    FIELD_TYPES,
    MAX_SECTIONS,
    SCHEMA_HEAD,
    SECTION_HEAD,
    round_up,
)
from tinyfin.schema import MAX_FIELDS, TYPES, Schema, record_offsets, record_size

__all__ = [
    "decode_json",
    "decode_schema",
    "encode_json",
    "encode_schema",
    "join_sections",
    "split_sections",
]


def join_sections(sections: Sequence[tuple[str, bytes]]) -> bytes:
    """(tag, payload) pairs as section bytes; tags of :data:`CRITICAL_TAGS` are marked critical."""
    out = bytearray()
    for tag, payload in sections:
        out += SECTION_HEAD.pack(tag.encode("ascii"), len(payload), tag in CRITICAL_TAGS, 1, 0)
        out += payload + bytes(-len(payload) % ALIGN)
    return bytes(out)


def split_sections(data: bytes, start: int, count: int) -> dict[str, bytes]:
    """Payload by tag, of the sections from ``start`` to the end of ``data``.

    Unknown sections that are not critical are kept under their tag. Raises PackError naming offset
    and rule.
    """
    out: dict[str, bytes] = {}
    at = start
    if not 1 <= count <= MAX_SECTIONS:
        raise PackError(f"offset 26: {count} sections; a pack has 1 to {MAX_SECTIONS}")
    for _ in range(count):
        if len(data) - at < SECTION_HEAD.size:
            raise PackError(f"offset {at}: a section header does not fit before the end")
        raw, length, flags, version, zero = SECTION_HEAD.unpack_from(data, at)
        tag = raw.decode("ascii", "backslashreplace")
        end = at + SECTION_HEAD.size + length
        if end > len(data):
            raise PackError(f"offset {at}: section {tag} of {length} bytes passes the end")
        if flags > 1 or zero or version != 1:
            raise PackError(f"offset {at}: section {tag}: unknown flags, version or reserved bytes")
        if tag in out:
            raise PackError(f"offset {at}: section {tag} is there twice")
        if (tag in CRITICAL_TAGS) != flags and (flags or tag in CRITICAL_TAGS):
            rule = "is critical and unknown" if flags else "must be marked critical"
            raise PackError(f"offset {at}: section {tag} {rule}")
        padded = round_up(end)
        if any(data[end:padded]):
            raise PackError(f"offset {end}: padding after section {tag} must be zero")
        out[tag] = data[at + SECTION_HEAD.size : end]
        at = padded
    if at != len(data):
        raise PackError(f"offset {at}: {len(data) - at} bytes after the last section")
    return out


def encode_schema(schema: Schema) -> bytes:
    """The SCHM payload. Names are for people and go to META."""
    out = SCHEMA_HEAD.pack(len(schema.fields), record_size(schema), 0)
    for field, offset in zip(schema.fields, record_offsets(schema), strict=True):
        code, missing = FIELD_TYPES.index(field.type), field.missing
        if field.type == "u64":
            missing -= missing >> 63 << 64  # the same 64 bits, signed
        flags = field.ram_only | field.host << 1
        out += FIELD_ENTRY.pack(code, flags, offset, len(field.values), missing)
    return out


def decode_schema(payload: bytes) -> tuple[dict[str, Any], ...]:
    """Per field: type, ram_only, host, offset, values (their number), missing. Raises PackError."""
    if len(payload) < 8:
        raise PackError("SCHM: offset 0: the payload is shorter than its head of 8 bytes")
    n, record, zero = SCHEMA_HEAD.unpack_from(payload)
    if not 1 <= n <= MAX_FIELDS or len(payload) != 8 + FIELD_ENTRY.size * n or zero:
        raise PackError(f"SCHM: offset 0: {n} fields do not make {len(payload)} bytes")
    fields = []
    end = 8
    for i, (code, flags, offset, values, missing) in enumerate(
        FIELD_ENTRY.iter_unpack(payload[8:])
    ):
        where = f"SCHM: offset {8 + FIELD_ENTRY.size * i}: field {i}"
        if code >= len(FIELD_TYPES) or flags > 3:
            raise PackError(f"{where}: unknown type {code} or flags {flags}")
        size = TYPES[FIELD_TYPES[code]]
        end = -(-end // size) * size
        if offset != end:
            raise PackError(f"{where}: is at {offset} in the record, not at {end}")
        if (FIELD_TYPES[code] == "enum") != bool(values):
            raise PackError(f"{where}: an enum, and only an enum, has a number of values")
        end += size
        fields.append(
            {
                "type": FIELD_TYPES[code],
                "ram_only": bool(flags & 1),
                "host": bool(flags & 2),
                "offset": offset,
                "values": values,
                "missing": missing % 2**64 if FIELD_TYPES[code] == "u64" else missing,
            }
        )
    if record != -(-end // 8) * 8:
        raise PackError(f"SCHM: offset 2: a record of {record} bytes, not {-(-end // 8) * 8}")
    return tuple(fields)


def encode_json(value: Mapping[str, Any]) -> bytes:
    """UTF-8, sorted keys, no spaces."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def decode_json(tag: str, payload: bytes) -> dict[str, Any]:
    """The object. Raises PackError when it is none."""
    try:
        value = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PackError(f"{tag}: is not JSON in UTF-8: {error}") from None
    if not isinstance(value, dict):
        raise PackError(f"{tag}: must be a JSON object")
    return value
