# SPDX-License-Identifier: Apache-2.0
"""The engine's C sources as a shared object, called through ctypes.

The twin is the same sources as a Python extension; this one can be made wrong on purpose.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.engine.native import (
    RECORD_OF_PACK,
    SOURCES,
    STATS,
    TEST,
    Event,
    Notice,
    Outcome,
    Trust,
    Verdict,
    compile_object,
    link,
)
from tinyfin.schema import Schema, record_offsets, record_size

ALIGN = 16
_HASH = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


@dataclass(frozen=True)
class Answer:
    """A verdict of the engine, in the oracle's words."""

    id: int
    score_q32: int
    raw: int
    action: int
    reasons: tuple[int, ...]
    flags: int


class Engine:
    """The shared object; ``sabotage`` makes one operator wrong by one, for all its terminals."""

    def __init__(self) -> None:
        flags = (
            "-std=c99",
            "-O1",
            "-g",
            "-fPIC",
            "-DTFIN_OWN_CRYPTO",
            "-DTFIN_SABOTAGE_OPERATOR=shim_sabotaged_operator",
            "-include",
            str(TEST / "sabotage.h"),
        )
        sources = [*SOURCES, TEST / "shim_features.c"]
        objects = [compile_object(source, flags) for source in sources]
        self.library = ctypes.CDLL(str(link("libfeatures.so", objects, ["-shared"])))
        self.library.tfin_error_name.restype = ctypes.c_char_p
        self.library.shim_engine_size.restype = ctypes.c_size_t
        self.library.tfin_state_digest.restype = ctypes.c_uint32
        self.library.tfin_state_size.restype = ctypes.c_uint32
        self.library.tfin_features.restype = ctypes.POINTER(ctypes.c_int16)
        self._hash = _HASH(self._digest)  # kept alive as long as the library may call it
        self.library.shim_use_hash(self._hash)

    @staticmethod
    def _digest(out: int, data: int, size: int) -> None:
        digest = hashlib.blake2b(ctypes.string_at(data, size), digest_size=32).digest()
        ctypes.memmove(out, digest, 32)

    @property
    def sabotage(self) -> int:
        """Code of the operator whose reading is one too many; 0 for none."""
        return ctypes.c_int.in_dll(self.library, "shim_sabotaged_operator").value

    @sabotage.setter
    def sabotage(self, code: int) -> None:
        ctypes.c_int.in_dll(self.library, "shim_sabotaged_operator").value = code

    def open(self, pack: bytes, schema: Schema) -> Native:
        """A cold terminal that runs ``pack``; AssertionError with the engine's text if refused."""
        return Native(self, pack, schema)


def _aligned(size: int) -> tuple[ctypes.Array[ctypes.c_char], int]:
    buffer = ctypes.create_string_buffer(size + ALIGN)
    return buffer, -(-ctypes.addressof(buffer) // ALIGN) * ALIGN


class Native:
    """One terminal, with the oracle's calls."""

    def __init__(self, engine: Engine, pack: bytes, schema: Schema) -> None:
        self._lib = engine.library
        self._schema = schema
        self._pack, at = _aligned(len(pack))
        ctypes.memmove(at, pack, len(pack))
        size = ctypes.c_size_t(len(pack))
        memory_size = self._lib.tfin_memory_size(ctypes.c_void_p(at), size)
        self._check(min(memory_size, 0))
        self._memory, memory = _aligned(memory_size)
        self._engine = ctypes.create_string_buffer(self._lib.shim_engine_size() + ALIGN)
        trust = Trust(allow_development_key=1, record=RECORD_OF_PACK)
        code = self._lib.tfin_open(
            self._engine,
            ctypes.c_void_p(at),
            size,
            ctypes.c_void_p(memory),
            ctypes.c_size_t(memory_size),
            ctypes.byref(trust),
        )
        self._check(code)

    def _check(self, code: int) -> None:
        assert code == 0, self._lib.tfin_error_name(code).decode()

    def score(
        self, id: int, t_mono_s: int, t_local_s: int, values: Sequence[int], present: int
    ) -> Answer:
        record = bytearray(record_size(self._schema))
        struct.pack_into("<I", record, 0, present)
        letters = {"i32": "i", "i64": "q", "u64": "Q", "enum": "i"}
        places = zip(self._schema.fields, record_offsets(self._schema), values, strict=True)
        for field, offset, value in places:
            struct.pack_into("<" + letters[field.type], record, offset, value)
        held, at = _aligned(len(record))
        ctypes.memmove(at, bytes(record), len(record))
        event = Event(id, t_mono_s, t_local_s, at, len(record))
        v = Verdict()
        self._check(self._lib.tfin_score(self._engine, ctypes.byref(event), ctypes.byref(v)))
        del held
        reasons = tuple(v.reasons)[: v.reason_count]
        return Answer(v.id, v.score_q32, v.raw, v.action, reasons, v.flags)

    def outcome(self, id: int, t_mono_s: int, result: int, response: int, action_taken: int) -> int:
        outcome = Outcome(id, t_mono_s, result, action_taken, response)
        return int(self._lib.tfin_apply_outcome(self._engine, ctypes.byref(outcome)))

    def notice(self, id: int, token: int, t_mono_s: int, t_tx_mono_s: int, fraud: int) -> int:
        notice = Notice(id, token, t_mono_s, t_tx_mono_s, fraud)
        return int(self._lib.tfin_apply_notice(self._engine, ctypes.byref(notice)))

    def erase_card(self, token: int) -> None:
        self._check(self._lib.tfin_erase_card(self._engine, ctypes.c_uint64(token)))

    def rebase_time(self, t_mono_s: int) -> int:
        return int(self._lib.tfin_rebase_time(self._engine, ctypes.c_uint32(t_mono_s)))

    def features(self) -> tuple[int, ...]:
        count = ctypes.c_uint32()
        at = self._lib.tfin_features(self._engine, ctypes.byref(count))
        return tuple(at[: count.value])

    def stats(self) -> dict[str, int]:
        numbers = (ctypes.c_uint32 * len(STATS))()
        self._check(self._lib.tfin_get_stats(self._engine, ctypes.byref(numbers)))
        return dict(zip(STATS, numbers, strict=True))

    def state_digest(self) -> int:
        return int(self._lib.tfin_state_digest(self._engine))

    def export_state(self) -> bytes:
        size = self._lib.tfin_state_size(self._engine)
        image = ctypes.create_string_buffer(size)
        self._check(self._lib.tfin_export_state(self._engine, 0, image, size))
        return image.raw

    def import_state(self, image: bytes) -> None:
        self._check(self._lib.tfin_import_state(self._engine, 0, image, len(image)))
