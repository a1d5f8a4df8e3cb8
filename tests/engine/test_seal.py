# SPDX-License-Identifier: Apache-2.0
"""The terminal's side of a seal, compiled for this host: any piece of a stream, anywhere."""

from __future__ import annotations

import ctypes
import random
from functools import cache

from tests.support import native
from tests.support import sealing_oracle as oracle
from tests.support.process import ROOT
from tinyfin.codegen import monocypher

SIZE = 1000
KEY, NONCE = bytes(range(32)), bytes(range(64, 88))


class Seal(ctypes.Structure):
    _fields_ = [
        ("key", ctypes.c_uint8 * 32),
        ("nonce", ctypes.c_uint8 * 8),
        ("used", ctypes.c_uint8),
    ]


@cache
def library() -> ctypes.CDLL:
    folder = monocypher.obtain(ROOT / ".pio" / "tinyfin")
    firmware = ROOT / "firmware"
    flags = ["-O1", "-fPIC", "-DTFIN_SEALED", "-DTFIN_PORT_FLASH", *native.WARNINGS]
    sources = {
        firmware / "src" / "slots" / "seal.c": ["-std=c11", f"-I{firmware / 'src'}"],
        native.PORT: ["-std=c99", f"-I{folder}"],
    }
    objects = [
        native.compile_object(path, [*flags, f"-I{firmware / 'ports'}", *more])
        for path, more in sources.items()
    ]
    unused = ("tfin_keys_mac", "tfin_state_size", "tfin_export_state")
    flags = ["-shared", *(f"-Wl,--defsym={name}=0" for name in unused)]
    objects += [native.compile_object(folder / "monocypher.c", ["-O2", "-fPIC"])]
    return ctypes.CDLL(str(native.link("seal.so", objects, flags)))


def seal_of(key: bytes, nonce: bytes) -> Seal:
    seal = Seal(used=1)
    library().tfin_port_stream_key(seal.key, key, nonce)
    ctypes.memmove(seal.nonce, nonce[16:], 8)
    return seal


def applied(seal: Seal, offset: int, data: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(data, len(data))
    library().tfin_seal_apply(ctypes.byref(seal), offset, buffer, len(data))
    return buffer.raw


def test_every_piece_at_every_offset_is_that_of_the_whole_stream() -> None:
    stream = oracle.stream(KEY, NONCE, SIZE)
    seal = seal_of(KEY, NONCE)
    for offset in range(SIZE):
        for size in {0, 1, 32, 63, 64, 65, SIZE} | {random.Random(offset).randrange(SIZE)}:
            piece = stream[offset : offset + size]
            assert applied(seal, offset, bytes(len(piece))) == piece


def test_pieces_in_any_sizes_open_what_was_sealed() -> None:
    rng = random.Random(5)
    for _ in range(20):
        key, nonce, plain = (rng.randbytes(n) for n in (32, 24, SIZE))
        over = oracle.stream(key, nonce, SIZE)
        sealed = bytes(a ^ b for a, b in zip(plain, over, strict=True))
        opened, seal = b"", seal_of(key, nonce)
        while len(opened) < SIZE:
            piece = sealed[len(opened) : len(opened) + rng.randrange(1, 200)]
            opened += applied(seal, len(opened), piece)
        assert opened == plain
