# SPDX-License-Identifier: Apache-2.0
"""The engine's C, compiled for this host: libraries for ctypes, and programs under sanitizers.

Objects are kept under build/ by the hash of what they were made of.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.process import ROOT, call
from tinyfin.codegen import monocypher
from tinyfin.schema import Schema, record_offsets, record_size

LIBRARY = ROOT / "firmware" / "lib" / "tinyfin"
HEADER = LIBRARY / "include" / "tinyfin.h"
PORT = LIBRARY / "src" / "tinyfin_port_monocypher.c"
SOURCES = sorted(p for p in (LIBRARY / "src").rglob("*.c") if not p.name.startswith("tinyfin_port"))
NETWORK = [p for p in SOURCES if p.parent.name in ("network", "kernels")]
KERNELS_ALL = 1023
TEST = ROOT / "firmware" / "test"
BUILD = ROOT / "build" / "engine-tests"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITIZERS = (
    "-g",
    "-O1",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)
ERRORS = {
    name: (int(value), text)
    for name, value, text in re.findall(r'X\((TFIN_\w+), (-?\d+), "([^"]+)"\)', HEADER.read_text())
}
"""Every error of tinyfin.h: name -> (value, text)."""


def compiler() -> str:
    """clang or gcc of this host, or a skipped test."""
    for name in (os.environ.get("CC"), "clang", "gcc", "cc"):
        if name and shutil.which(name):
            return name
    pytest.skip("no C compiler on this host: install gcc or clang")


def _cached(name: str, command: Sequence[str], inputs: Sequence[Path]) -> Path:
    """What ``command -o <file>`` makes, or what an earlier run made of the same bytes."""
    digest = hashlib.sha256(repr(command).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    target = BUILD / digest.hexdigest()[:20] / name
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_suffix(f".{os.getpid()}")
    call(*command, "-o", made)
    made.replace(target)
    return target


def compile_object(source: Path, flags: Sequence[str], cc: str | None = None) -> Path:
    """One object file."""
    ports = (ROOT / "firmware" / "ports").rglob("*.h")
    headers = sorted({*LIBRARY.rglob("*.h"), *TEST.glob("*.h"), *ports})
    command = [cc or compiler(), f"-I{LIBRARY / 'include'}", f"-I{LIBRARY / 'src'}"]
    command += [f"-I{TEST}", *flags, "-c", str(source)]
    return _cached(source.stem + ".o", command, [source, *headers])


def link(name: str, objects: Sequence[Path], flags: Sequence[str]) -> Path:
    command = [compiler(), *flags, *map(str, objects)]
    return _cached(name, command, objects)


def _engine(flags: Sequence[str], defines: Sequence[str]) -> list[Path]:
    """Objects of the engine; a define only reaches the files that name it."""
    made = []
    for source in SOURCES:
        text = source.read_text()
        own = [f"-D{d}" for d in defines if d.split("=")[0] in text]
        made.append(compile_object(source, [*flags, *own]))
    return made


def _network(flags: Sequence[str], defines: Sequence[str]) -> list[Path]:
    """Objects of the network alone."""
    return [compile_object(p, [*flags, *(f"-D{d}" for d in defines)]) for p in NETWORK]


def _crypto(flags: Sequence[str]) -> list[Path]:
    """Objects of the real port; Monocypher itself without sanitizers, for speed."""
    folder = monocypher.obtain(ROOT / ".pio" / "tinyfin")
    defines = [f"-D{define}" for define in monocypher.DEFINES]
    return [
        compile_object(PORT, [*flags, f"-I{folder}"]),
        compile_object(folder / "monocypher.c", ["-O2", "-fPIC", *defines]),
    ]


def engine_objects(*more: str) -> list[Path]:
    """Objects of the engine with the real port, as :func:`library` has them."""
    flags = ["-std=c99", "-O1", "-fPIC", *WARNINGS, *more]
    return _engine(flags, ()) + _crypto(flags)


def program(
    *sources: str,
    port: str = "port_accept.c",
    defines: Sequence[str] = (),
    linker: Sequence[str] = (),
    machine: Sequence[str] = (),
) -> Path:
    """A program of firmware/test with the engine, under ASan and UBSan; port "real": Monocypher."""
    flags = ["-std=c11", *WARNINGS, *SANITIZERS, *machine]
    files = [TEST / source for source in (*sources, "rig.c")]
    if port != "real":
        files.append(TEST / port)
    objects = [compile_object(path, flags) for path in files] + _engine(flags, defines)
    if port == "real":
        objects += _crypto(flags)
    return link(Path(sources[0]).stem, objects, [*SANITIZERS, *linker, *machine])


def network_program(source: str, *defines: str) -> Path:
    """A program of firmware/test with the network alone, under ASan and UBSan."""
    flags = ["-std=c11", *WARNINGS, *SANITIZERS]
    objects = [compile_object(TEST / source, flags), *_network(flags, defines)]
    return link(Path(source).stem, objects, SANITIZERS)


def run(binary: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return call(binary, *arguments, code=None)


# ------------------------------------------------------------------------------- ctypes


class Event(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_uint64),
        ("t_mono_s", ctypes.c_uint32),
        ("t_local_s", ctypes.c_uint32),
        ("record", ctypes.c_void_p),
        ("record_size", ctypes.c_uint32),
    ]


class Outcome(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_uint64),
        ("t_mono_s", ctypes.c_uint32),
        ("result", ctypes.c_uint8),
        ("action_taken", ctypes.c_uint8),
        ("response", ctypes.c_int16),
    ]


class Notice(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_uint64),
        ("token", ctypes.c_uint64),
        ("t_mono_s", ctypes.c_uint32),
        ("t_tx_mono_s", ctypes.c_uint32),
        ("fraud", ctypes.c_uint8),
    ]


class Verdict(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_uint64),
        ("score_q32", ctypes.c_uint32),
        ("raw", ctypes.c_int32),
        ("flags", ctypes.c_uint16),
        ("action", ctypes.c_uint8),
        ("reason_count", ctypes.c_uint8),
        ("_reasons", ctypes.c_uint16 * 3),
        ("reserved", ctypes.c_uint16),
    ]

    @property
    def reasons(self) -> tuple[int, ...]:
        return tuple(self._reasons)[: self.reason_count]


_PROGRESS = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Trust(ctypes.Structure):
    _fields_ = [
        ("keys", ctypes.c_char_p),
        ("key_count", ctypes.c_uint8),
        ("allow_development_key", ctypes.c_uint8),
        ("minimum_security_counter", ctypes.c_uint32),
        ("record", ctypes.POINTER(ctypes.c_uint32)),
        ("progress", _PROGRESS),
        ("progress_context", ctypes.c_void_p),
    ]


STATS = ["scored", "committed", "clock_clamps", "saturations", "pending_overflows"]
STATS += ["unknown_outcomes", "notices", "notice_duplicates", "label_overflows", "evictions"]
"""The counters of ``tfin_stats``, in its order."""

RECORD_OF_PACK = (ctypes.c_uint32 * 1)(0)
"""For ``tfin_trust.record``: an application that reads the pack's own schema."""


@dataclass
class Buffer:
    """``size`` bytes at an address that is ``shift`` past a multiple of 16."""

    size: int
    data: bytes = b""
    shift: int = 0

    def __post_init__(self) -> None:
        self._held = ctypes.create_string_buffer(self.size + 32)
        self.address = ctypes.addressof(self._held) + 15 & ~15
        self.address += self.shift
        ctypes.memmove(self.address, self.data, len(self.data))

    def __bytes__(self) -> bytes:
        return ctypes.string_at(self.address, self.size)

    @classmethod
    def of(cls, data: bytes) -> Buffer:
        return cls(len(data), data)

    @property
    def _as_parameter_(self) -> ctypes.c_void_p:
        """What ctypes passes to a function."""
        return ctypes.c_void_p(self.address)


@cache
def library(*defines: str, more: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The engine with the real port."""
    flags = ["-std=c99", "-O1", "-fPIC", *WARNINGS, *more]
    objects = _engine(flags, ("TFIN_SHADOW_STATE", *defines)) + _crypto(flags)
    path = link("engine.so", objects, ["-shared"])
    lib = ctypes.CDLL(str(path))
    lib.tfin_error_name.restype = ctypes.c_char_p
    lib.tfin_state_size.restype = ctypes.c_uint32
    lib.tfin_state_digest.restype = ctypes.c_uint32
    lib.tfin_crc32.restype = ctypes.c_uint32
    lib.tfin_pack_id.restype = ctypes.POINTER(ctypes.c_uint8)
    lib.tfin_features.restype = ctypes.POINTER(ctypes.c_int16)
    return lib


def code(name: str) -> int:
    return ERRORS[name][0]


def error_name(rc: int, lib: ctypes.CDLL | None = None) -> str:
    """ "TFIN_E_DIGEST" of -8."""
    return (lib or library()).tfin_error_name(rc).decode().split(":")[0]


class Refused(Exception):
    """The engine answered with an error; str() is its name."""


def check(rc: int, lib: ctypes.CDLL) -> None:
    if rc != 0:
        raise Refused(error_name(rc, lib))


class Receipt:
    """What tfin_verify leaves of a pack. Raises Refused."""

    def __init__(self, pack: bytes, *, lib: ctypes.CDLL | None = None, allow: bool = True) -> None:
        self.lib = lib or library()
        self.pack = Buffer.of(pack)
        self.buffer = Buffer(512)
        check(self.verify(allow), self.lib)

    def verify(self, allow: bool = True) -> int:
        self._progress = _PROGRESS(lambda _: None)
        trust = Trust(b"", 0, allow, 0, RECORD_OF_PACK, self._progress, None)
        size = ctypes.c_size_t(self.pack.size)
        return int(self.lib.tfin_verify(self.buffer, self.pack, size, ctypes.byref(trust)))


class Engine:
    """A pack, opened in memory of its own. Raises Refused."""

    def __init__(
        self,
        pack: bytes,
        *,
        lib: ctypes.CDLL | None = None,
        allow: bool = True,
        keys: Sequence[bytes] = (),
        counter: int = 0,
        pack_shift: int = 0,
        memory_shift: int = 0,
        memory_less: int = 0,
        memory_size: int | None = None,
        receipt: Receipt | None = None,
        record: Sequence[int] = (0,),
    ) -> None:
        self.lib = lib or library()
        self._pack = Buffer(len(pack), pack, pack_shift)
        size = ctypes.c_size_t(len(pack))
        needed = self.lib.tfin_memory_size(self._pack, size)
        self.memory_size = max(needed, 0) if memory_size is None else memory_size
        self._memory = Buffer(self.memory_size, shift=memory_shift)
        memory = self._memory, ctypes.c_size_t(self.memory_size - memory_less)
        self._engine = Buffer(512)
        self.progress_calls = 0
        self._progress = _PROGRESS(self._count)
        words = (ctypes.c_uint32 * len(record))(*record)
        trust = Trust(b"".join(keys), len(keys), allow, counter, words, self._progress, None)
        if receipt is None:
            self._call("open", self._pack, size, *memory, ctypes.byref(trust))
        else:
            self._pack = receipt.pack
            self._call("bind", receipt.buffer, *memory)

    def _count(self, _: object) -> None:
        self.progress_calls += 1

    def _call(self, name: str, *arguments: object) -> None:
        check(self.lib[f"tfin_{name}"](self._engine, *arguments), self.lib)

    def score(
        self,
        id: int,
        t: int,
        record: bytes,
        *,
        t_local: int = 0,
        size: int | None = None,
        shift: int = 0,
    ) -> Verdict:
        held = Buffer(len(record), record, shift)
        event = Event(id, t, t_local, held.address, len(record) if size is None else size)
        verdict = Verdict()
        self._call("score", ctypes.byref(event), ctypes.byref(verdict))
        return verdict

    def outcome(self, id: int, t: int, result: int = 0, response: int = 0, action: int = 0) -> None:
        self._call("apply_outcome", ctypes.byref(Outcome(id, t, result, action, response)))

    def notice(self, id: int, token: int, t: int, t_tx: int, fraud: int) -> None:
        self._call("apply_notice", ctypes.byref(Notice(id, token, t, t_tx, fraud)))

    def infer(self, codes: bytes) -> int:
        raw = ctypes.c_int32()
        self._call("infer", codes, len(codes), ctypes.byref(raw))
        return raw.value

    def features(self) -> list[int]:
        count = ctypes.c_uint32()
        at = self.lib.tfin_features(self._engine, ctypes.byref(count))
        return list(at[: count.value])

    def pack_id(self) -> bytes:
        return bytes(self.lib.tfin_pack_id(self._engine)[:16])

    @property
    def state_size(self) -> int:
        return int(self.lib.tfin_state_size(self._engine))

    def digest(self) -> int:
        return int(self.lib.tfin_state_digest(self._engine))

    def export(self, offset: int = 0, size: int | None = None) -> bytes:
        size = self.state_size - offset if size is None else size
        out = ctypes.create_string_buffer(max(size, 1))
        self._call("export_state", offset, out, size)
        return out.raw[:size]

    def take(self, image: bytes, offset: int = 0) -> None:
        """tfin_import_state of one piece."""
        self._call("import_state", offset, image, len(image))

    def erase(self, token: int) -> None:
        self._call("erase_card", ctypes.c_uint64(token))

    def memory(self) -> bytes:
        """All that the caller gave: state and scratch."""
        return bytes(self._memory)

    def all_stats(self) -> dict[str, int]:
        numbers = (ctypes.c_uint32 * len(STATS))()
        self._call("get_stats", ctypes.byref(numbers))
        return dict(zip(STATS, numbers, strict=True))

    def stats(self, name: str) -> int:
        return self.all_stats()[name]

    def recheck(self, piece: int) -> int:
        """Hash the pack again to its end; how many calls said that there is more."""
        held, calls = Buffer(512), 0
        while (left := self.lib.tfin_recheck_pack(self._engine, held, piece)) > 0:
            calls += 1
        check(left, self.lib)
        return calls

    def rebase(self, t: int) -> None:
        self._call("rebase_time", ctypes.c_uint32(t))

    def reset(self) -> None:
        self._call("reset")


def opening(pack: bytes, **how: Any) -> str:
    """ "" or the name of the error that refuses a pack."""
    try:
        Engine(pack, **how)
    except Refused as refused:
        return str(refused)
    return ""


def record_of(schema: Schema, values: Sequence[int], present: int) -> bytes:
    """The C record of an event."""
    record = bytearray(record_size(schema))
    struct.pack_into("<I", record, 0, present)
    letters = {"i32": "<i", "i64": "<q", "u64": "<Q", "enum": "<i"}
    for field, offset, value in zip(schema.fields, record_offsets(schema), values, strict=True):
        struct.pack_into(letters[field.type], record, offset, value)
    return bytes(record)


class NativeTerminal:
    """The engine with the oracle's calls; one operator can be made wrong."""

    def __init__(self, pack: bytes, schema: Schema) -> None:
        self._schema = schema
        self.engine = Engine(pack, lib=self._library())

    @staticmethod
    def _library() -> ctypes.CDLL:
        define = "TFIN_SABOTAGE_OPERATOR=sabotaged_operator"
        return library(define, more=("-include", str(TEST / "sabotage.h")))

    @classmethod
    def sabotage(cls, code: int) -> None:
        """The operator whose reading is one too many from now on; 0 for none."""
        ctypes.c_int.in_dll(cls._library(), "sabotaged_operator").value = code

    def score(
        self, id: int, t_mono_s: int, t_local_s: int, values: Sequence[int], present: int
    ) -> Verdict:
        record = record_of(self._schema, values, present)
        return self.engine.score(id, t_mono_s, record, t_local=t_local_s)

    def _code(self, call: Callable[..., None], *arguments: int) -> int:
        try:
            call(*arguments)
        except Refused as refused:
            return code(str(refused))
        return 0

    def outcome(self, id: int, t_mono_s: int, result: int, response: int, action_taken: int) -> int:
        return self._code(self.engine.outcome, id, t_mono_s, result, response, action_taken)

    def notice(self, id: int, token: int, t_mono_s: int, t_tx_mono_s: int, fraud: int) -> int:
        return self._code(self.engine.notice, id, token, t_mono_s, t_tx_mono_s, fraud)

    def erase_card(self, token: int) -> None:
        self.engine.erase(token)

    def rebase_time(self, t_mono_s: int) -> int:
        return self._code(self.engine.rebase, t_mono_s)

    def features(self) -> list[int]:
        return self.engine.features()

    def stats(self) -> dict[str, int]:
        return self.engine.all_stats()

    def state_digest(self) -> int:
        return self.engine.digest()

    def export_state(self) -> bytes:
        return self.engine.export()

    def import_state(self, image: bytes) -> None:
        self.engine.take(image)


# ------------------------------------------------------------------------------ network


def aligned(size: int, fill: int = 0) -> NDArray[np.uint8]:
    """A buffer whose address is a multiple of 16."""
    raw = np.full(size + 16, fill, np.uint8)
    start = -raw.ctypes.data % 16
    return raw[start : start + size]


class Network:
    """tfin_net_* of one build."""

    def __init__(self, *defines: str) -> None:
        objects = _network(["-std=c99", "-O2", "-fPIC", *WARNINGS], defines)
        self.lib = ctypes.CDLL(str(link("net.so", objects, ["-shared"])))

    def check(self, plan: bytes, kernels: int = KERNELS_ALL, misalign: int = 0) -> int:
        held = Buffer(len(plan), plan, misalign)
        return int(self.lib.tfin_net_check(held, len(plan), kernels))

    def run(
        self, plan: bytes, inputs: NDArray[np.int8], *, accumulators: bool = False
    ) -> NDArray[np.int8] | NDArray[np.int32]:
        """Outputs int8[rows, N], or the accumulators int32[rows, N]; the input must stay intact."""
        code = Buffer.of(plan)
        assert self.lib.tfin_net_check(code, len(plan), KERNELS_ALL) == 0
        words = struct.unpack_from("<16I", plan)
        arena = aligned(words[4], 0xA5)
        at_in, n_in, at_out, n_out, at_acc, n_acc = words[6:12]
        assert inputs.shape[1] == n_in
        rows = []
        for x in inputs:
            arena[at_in : at_in + n_in] = x.view(np.uint8)
            self.lib.tfin_net_run(code, ctypes.c_void_p(arena.ctypes.data))
            assert np.array_equal(arena[at_in : at_in + n_in], x.view(np.uint8)), "input changed"
            if accumulators:
                rows.append(arena[at_acc : at_acc + 4 * n_acc].view("<i4").copy())
            else:
                rows.append(arena[at_out : at_out + n_out].view(np.int8).copy())
        return np.array(rows)


def tflm(model: bytes, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
    """What TFLM's own interpreter answers: int8[rows, N]."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=1 << 20)
    shape = interpreter.get_input_details(0)["shape"]
    rows = []
    for x in inputs:
        interpreter.set_input(x.reshape(shape), 0)
        interpreter.invoke()
        rows.append(np.array(interpreter.get_output(0), np.int8).reshape(-1))
    return np.array(rows)
