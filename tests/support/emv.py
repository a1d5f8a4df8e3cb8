# SPDX-License-Identifier: Apache-2.0
"""tinyfin_emv.h, compiled for this host and called by ctypes."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any, NamedTuple

from tests.support.native import LIBRARY, WARNINGS, compile_object, link
from tinyfin.schema import PAYMENT

SOURCES = sorted((LIBRARY / "src" / "emv").glob("*.c"))
HEADER = LIBRARY / "include" / "tinyfin_emv.h"
ERRORS = {
    int(value): name
    for name, value in re.findall(r"TFIN_EMV_(E_\w+|OK) = (-?\d+),?", HEADER.read_text())
}
NO_RESULT = 255

ASCII, BCD, BCD_LENGTHS, BINARY_LENGTHS, HEX_BITMAP, PAD_RIGHT = 0, 1, 2, 4, 8, 16
AAC, ARQC, TC = 0x00, 0x80, 0x40
PROCESSING_OPTIONS, GENERATE_AC = 1, 2

_HASH = ctypes.CFUNCTYPE(
    ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint32
)


class Config(ctypes.Structure):
    _fields_ = [
        ("hash", _HASH),
        ("context", ctypes.c_void_p),
        ("near_s", ctypes.c_uint32),
        ("format_1", ctypes.c_uint8),
    ]


class Dialect(ctypes.Structure):
    _fields_ = [
        ("forms", ctypes.c_void_p),
        ("header_bytes", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
    ]


class Record(ctypes.Structure):
    """The record of schema "payment", laid out by ctypes from the schema itself."""

    _fields_ = [
        ("present", ctypes.c_uint32),
        *(
            (f.name, {"i64": ctypes.c_int64, "u64": ctypes.c_uint64}.get(f.type, ctypes.c_int32))
            for f in PAYMENT.fields
        ),
    ]


class Facts(ctypes.Structure):
    _fields_ = [
        ("t_local_s", ctypes.c_uint32),
        ("mti", ctypes.c_uint16),
        ("response", ctypes.c_int16),
        ("result", ctypes.c_uint8),
        ("aid_bytes", ctypes.c_uint8),
        ("aid", ctypes.c_void_p),
        ("amount_other_minor", ctypes.c_int64),
        ("terminal_country", ctypes.c_int16),
        ("issuer_country", ctypes.c_int16),
        ("terminal_type", ctypes.c_int16),
        ("sequence", ctypes.c_int16),
        ("cid", ctypes.c_int16),
        ("aip", ctypes.c_int32),
        ("tsi", ctypes.c_int32),
    ]


class Fault(ctypes.Structure):
    _fields_ = [("error", ctypes.c_int), ("what", ctypes.c_uint32), ("offset", ctypes.c_uint32)]


class Tlv(ctypes.Structure):
    _fields_ = [
        ("tag", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("value", ctypes.c_void_p),
        ("offset", ctypes.c_uint32),
        ("constructed", ctypes.c_uint8),
    ]


class Read(NamedTuple):
    """What a call answered."""

    error: str
    fault: Fault
    record: Record
    facts: Facts
    hashed: list[tuple[int, str]]
    """What the hash function was asked for."""

    @property
    def fields(self) -> dict[str, Any]:
        """Present fields by name, enums as their names."""
        found = {}
        for i, spec in enumerate(PAYMENT.fields):
            if self.record.present >> i & 1:
                value = getattr(self.record, spec.name)
                found[spec.name] = spec.values[value] if spec.values else value
        return found


def fnv(what: int, text: bytes) -> int:
    """The hash of emv_cases.c."""
    value = 0xCBF29CE484222325
    for byte in (what, *text):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


@cache
def library() -> ctypes.CDLL:
    flags = ["-std=c99", "-O1", "-fPIC", *WARNINGS]
    return ctypes.CDLL(
        str(link("emv.so", [compile_object(path, flags) for path in SOURCES], ["-shared"]))
    )


def read(
    data: bytes,
    *,
    flags: int | None = None,
    header_bytes: int = 0,
    near_s: int = 0,
    format_1: int = 0,
    hashes: bool = True,
    record: Record | None = None,
) -> Read:
    """tfin_emv_read, or tfin_iso8583_read where there are ``flags`` of a dialect."""
    asked: list[tuple[int, str]] = []

    @_HASH
    def hash(context: object, what: int, text: Any, size: int) -> int:
        held = bytes(text[:size])
        asked.append((what, held.decode("latin-1")))
        return fnv(what, held)

    config = Config(hash if hashes else _HASH(), None, near_s, format_1)
    out, facts, fault = record or Record(), Facts(), Fault()
    to = ctypes.byref(out), ctypes.byref(facts), ctypes.byref(fault)
    held = ctypes.create_string_buffer(data, len(data) or 1)
    if flags is None:
        rc = library().tfin_emv_read(ctypes.byref(config), held, len(data), *to)
    else:
        dialect = Dialect(None, header_bytes, flags)
        rc = library().tfin_iso8583_read(
            ctypes.byref(config), ctypes.byref(dialect), held, len(data), *to
        )
    assert rc == fault.error
    return Read(ERRORS[rc], fault, out, facts, asked)


def walk(data: bytes) -> tuple[list[tuple[int, bytes, int, bool]], str]:
    """The data objects that tfin_tlv_next gives, and what it ends with."""
    held = ctypes.create_string_buffer(data, len(data) or 1)
    state, found, out = ctypes.create_string_buffer(64), Tlv(), []
    library().tfin_tlv_begin(state, held, len(data))
    while (rc := library().tfin_tlv_next(state, ctypes.byref(found))) == 1:
        value = ctypes.string_at(found.value, found.size) if found.size else b""
        out.append((found.tag, value, found.offset, bool(found.constructed)))
    return out, ERRORS[rc]
