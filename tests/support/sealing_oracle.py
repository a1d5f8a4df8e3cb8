# SPDX-License-Identifier: Apache-2.0
"""Sealed packs and state images in plain Python, written from docs/formats/sealed.md, RFC 8439 and
draft-irtf-cfrg-xchacha-03. Nothing of tinyfin is imported, so that a mistake there cannot hide
here."""

from __future__ import annotations

import hashlib
import struct
from functools import cache

PACK, STATE = 1, 2
USES = {PACK: b"packs", STATE: b"state"}


def _rounds(words: list[int]) -> list[int]:
    x = list(words)

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for i, j, k, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[i] = (x[i] + x[j]) & 0xFFFFFFFF
            x[k] ^= x[i]
            x[k] = (x[k] << turn | x[k] >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return x


def _words(key: bytes, last: bytes) -> list[int]:
    return list(struct.unpack("<16I", b"expand 32-byte k" + key + last))


@cache
def block(key: bytes, last: bytes) -> bytes:
    """A block of ChaCha20; ``last``: counter and nonce, 16 bytes."""
    words = _words(key, last)
    added = zip(words, _rounds(words), strict=True)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in added))


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    x = _rounds(_words(key, nonce))
    return struct.pack("<8I", *x[:4], *x[12:])


def stream(key: bytes, nonce: bytes, size: int) -> bytes:
    """The first bytes of XChaCha20's stream."""
    made = hchacha20(key, nonce[:16])
    blocks = range(-(-size // 64))
    return b"".join(block(made, struct.pack("<Q", i) + nonce[16:]) for i in blocks)[:size]


def mac(secret: bytes, message: bytes, size: int = 32) -> bytes:
    return hashlib.blake2b(secret + bytes(96) + message, digest_size=32).digest()[:size]


def xored(data: bytes, kind: int, key: bytes, nonce: bytes) -> bytes:
    """Encrypts, and opens."""
    over = stream(mac(key, USES[kind]), nonce, len(data))
    return bytes(a ^ b for a, b in zip(data, over, strict=True))


def own_key(fleet: bytes, terminal: bytes) -> bytes:
    """The sealing key that a terminal makes of its report key."""
    return mac(mac(fleet, b"report" + terminal), b"seal")


def state_nonce(image: bytes, key: bytes) -> bytes:
    return mac(mac(key, b"nonce"), image, 24)


def check(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()[:16]


def file_of(kind: int, data: bytes, key: bytes, nonce: bytes) -> bytes:
    """A sealed file."""
    named = mac(key, b"ident", 8)
    head = b"TFSD" + struct.pack("<HBBII", 1, kind, 0, len(data), 0) + named + nonce
    whole = head + xored(data, kind, key, nonce)
    return whole + check(whole)


def opened(data: bytes, key: bytes) -> tuple[int, bytes]:
    """Kind and content of a sealed file."""
    assert data[:6] == b"TFSD\x01\x00"
    assert data[-16:] == check(data[:-16])
    kind, size = data[6], int.from_bytes(data[8:12], "little")
    assert data[7] == 0
    assert data[12:16] == bytes(4)
    assert data[16:24] == mac(key, b"ident", 8)
    nonce, content = data[24:48], data[48:-16]
    assert len(content) == size
    plain = xored(content, kind, key, nonce)
    assert kind == PACK or nonce == state_nonce(plain, key)
    return kind, plain
