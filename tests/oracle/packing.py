# SPDX-License-Identifier: Apache-2.0
"""Packs for the tests of features, put together as docs/formats/pack.md says."""

from __future__ import annotations

import hashlib
import struct

from tinyfin.oracle.program import schema_payload
from tinyfin.pack.signing import DEVELOPMENT_KEY, sign
from tinyfin.schema import Schema

HEADER_BYTES = 224


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def pack(schema: Schema, program: bytes, kernels: int = 0, **sections: bytes) -> bytes:
    """A signed pack of a schema, a program and further critical sections by tag."""
    payloads = {"SCHM": schema_payload(schema), "PROG": program, **sections}
    body = b""
    for tag, payload in payloads.items():
        body += struct.pack("<4sIHHI", tag.encode(), len(payload), 1, 1, 0)
        body += payload + bytes(-len(payload) % 16)
    schm = payloads["SCHM"]
    head = struct.pack("<IHHIIII", 0x4B504654, 1, HEADER_BYTES, HEADER_BYTES + len(body), 0, 0, 1)
    head += struct.pack("<BBHIII", 1, 1, len(payloads), DEVELOPMENT_KEY.key_id, kernels, 0)
    head += _hash(schm)[:16] + _hash(program)[:16] + _hash(b"tfst1" + schm + program)[:16]
    head = head.ljust(128, b"\0") + _hash(body)
    return head + sign(head, DEVELOPMENT_KEY) + body
