# SPDX-License-Identifier: Apache-2.0
"""The engine's C, compiled for this host: a library for ctypes, and programs under sanitizers.

Objects are kept under build/ by the hash of what they were made of.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tinyfin.codegen import monocypher

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "firmware" / "lib" / "tinyfin"
HEADER = LIBRARY / "include" / "tinyfin.h"
SOURCES = sorted(p for p in (LIBRARY / "src").rglob("*.c") if not p.name.startswith("tinyfin_port"))
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
DEADLINE_S = 120

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
    done = subprocess.run(
        [*command, "-o", str(made)], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    made.replace(target)
    return target


def compile_object(source: Path, flags: Sequence[str], cc: str | None = None) -> Path:
    """One object file."""
    headers = sorted({*LIBRARY.rglob("*.h"), *TEST.glob("*.h")})
    command = [cc or compiler(), f"-I{LIBRARY / 'include'}", f"-I{LIBRARY / 'src'}"]
    command += [f"-I{TEST}", *flags, "-c", str(source)]
    return _cached(source.stem + ".o", command, [source, *headers])


def link(name: str, objects: Sequence[Path], flags: Sequence[str]) -> Path:
    command = [compiler(), *flags, *map(str, objects)]
    return _cached(name, command, objects)


def _engine(flags: Sequence[str], defines: Sequence[str]) -> list[Path]:
    """Objects of the engine; a define only reaches the files that speak of it."""
    made = []
    for source in SOURCES:
        text = source.read_text()
        own = [f"-D{d}" for d in defines if d.split("=")[0] in text]
        made.append(compile_object(source, [*flags, *own]))
    return made


def _crypto(flags: Sequence[str]) -> list[Path]:
    """Objects of the real port; Monocypher itself without sanitizers, for speed."""
    folder = monocypher.obtain(ROOT / ".pio" / "tinyfin")
    defines = [f"-D{define}" for define in monocypher.DEFINES]
    port = LIBRARY / "src" / "tinyfin_port_monocypher.c"
    return [
        compile_object(port, [*flags, f"-I{folder}"]),
        compile_object(folder / "monocypher.c", ["-O2", "-fPIC", *defines]),
    ]


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


def run(binary: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(binary), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)


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
        ("reasons", ctypes.c_uint16 * 3),
        ("reserved", ctypes.c_uint16),
    ]


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


STATS = (
    "scored",
    "committed",
    "clock_clamps",
    "saturations",
    "pending_overflows",
    "unknown_outcomes",
    "notices",
    "notice_duplicates",
    "label_overflows",
    "evictions",
)
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

    @property
    def pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.address)


@cache
def library(*defines: str) -> ctypes.CDLL:
    """The engine with the real port."""
    flags = ["-std=c99", "-O1", "-fPIC", *WARNINGS]
    objects = _engine(flags, defines) + _crypto(flags)
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


class Receipt:
    """What tfin_verify leaves of a pack. Raises Refused."""

    def __init__(self, pack: bytes, *, lib: ctypes.CDLL | None = None, allow: bool = True) -> None:
        self.lib = lib or library()
        self.pack = Buffer(len(pack), pack)
        self.buffer = Buffer(512)
        rc = self.verify(allow)
        if rc != 0:
            raise Refused(error_name(rc, self.lib))

    def verify(self, allow: bool = True) -> int:
        self._progress = _PROGRESS(lambda _: None)
        trust = Trust(b"", 0, allow, 0, RECORD_OF_PACK, self._progress, None)
        return int(
            self.lib.tfin_verify(
                self.buffer.pointer,
                self.pack.pointer,
                ctypes.c_size_t(self.pack.size),
                ctypes.byref(trust),
            )
        )


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
        needed = self.lib.tfin_memory_size(self._pack.pointer, ctypes.c_size_t(len(pack)))
        self.memory_size = max(needed, 0) if memory_size is None else memory_size
        self._memory = Buffer(self.memory_size, shift=memory_shift)
        self._engine = Buffer(512)
        self._calls = 0
        self._progress = _PROGRESS(self._count)
        words = (ctypes.c_uint32 * len(record))(*record)
        trust = Trust(b"".join(keys), len(keys), allow, counter, words, self._progress, None)
        if receipt is not None:
            self._pack = receipt.pack
            self._check(
                self.lib.tfin_bind(
                    self._engine.pointer,
                    receipt.buffer.pointer,
                    self._memory.pointer,
                    ctypes.c_size_t(self.memory_size - memory_less),
                )
            )
            return
        self._check(
            self.lib.tfin_open(
                self._engine.pointer,
                self._pack.pointer,
                ctypes.c_size_t(len(pack)),
                self._memory.pointer,
                ctypes.c_size_t(self.memory_size - memory_less),
                ctypes.byref(trust),
            )
        )

    def _count(self, _: object) -> None:
        self._calls += 1

    @property
    def progress_calls(self) -> int:
        return self._calls

    def _check(self, rc: int) -> None:
        if rc != 0:
            raise Refused(error_name(rc, self.lib))

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
        self._check(
            self.lib.tfin_score(self._engine.pointer, ctypes.byref(event), ctypes.byref(verdict))
        )
        return verdict

    def outcome(self, id: int, t: int, result: int = 0, response: int = 0, action: int = 0) -> None:
        outcome = Outcome(id, t, result, action, response)
        self._check(self.lib.tfin_apply_outcome(self._engine.pointer, ctypes.byref(outcome)))

    def notice(self, id: int, token: int, t: int, t_tx: int, fraud: int) -> None:
        notice = Notice(id, token, t, t_tx, fraud)
        self._check(self.lib.tfin_apply_notice(self._engine.pointer, ctypes.byref(notice)))

    def infer(self, codes: bytes) -> int:
        raw = ctypes.c_int32()
        self._check(self.lib.tfin_infer(self._engine.pointer, codes, len(codes), ctypes.byref(raw)))
        return raw.value

    def features(self) -> list[int]:
        count = ctypes.c_uint32()
        at = self.lib.tfin_features(self._engine.pointer, ctypes.byref(count))
        return list(at[: count.value])

    def pack_id(self) -> bytes:
        return bytes(self.lib.tfin_pack_id(self._engine.pointer)[:16])

    @property
    def state_size(self) -> int:
        return int(self.lib.tfin_state_size(self._engine.pointer))

    def digest(self) -> int:
        return int(self.lib.tfin_state_digest(self._engine.pointer))

    def export(self, offset: int = 0, size: int | None = None) -> bytes:
        size = self.state_size - offset if size is None else size
        out = ctypes.create_string_buffer(max(size, 1))
        self._check(self.lib.tfin_export_state(self._engine.pointer, offset, out, size))
        return out.raw[:size]

    def take(self, image: bytes, offset: int = 0) -> None:
        """tfin_import_state of one piece."""
        self._check(self.lib.tfin_import_state(self._engine.pointer, offset, image, len(image)))

    def erase(self, token: int) -> None:
        self._check(self.lib.tfin_erase_card(self._engine.pointer, ctypes.c_uint64(token)))

    def memory(self) -> bytes:
        """All that the caller gave: state and scratch."""
        return bytes(self._memory)

    def stats(self, name: str) -> int:
        numbers = (ctypes.c_uint32 * len(STATS))()
        self._check(self.lib.tfin_get_stats(self._engine.pointer, ctypes.byref(numbers)))
        return numbers[STATS.index(name)]

    def recheck(self, piece: int) -> int:
        """Hash the pack again to its end; how many calls said that there is more."""
        held, calls = Buffer(512), 0
        while (left := self.lib.tfin_recheck_pack(self._engine.pointer, held.pointer, piece)) > 0:
            calls += 1
        self._check(left)
        return calls

    def rebase(self, t: int) -> None:
        self._check(self.lib.tfin_rebase_time(self._engine.pointer, ctypes.c_uint32(t)))

    def reset(self) -> None:
        self._check(self.lib.tfin_reset(self._engine.pointer))
