# SPDX-License-Identifier: Apache-2.0
"""Sealed packs and state images: encrypted on their way; docs/formats/sealed.md is the norm.

XChaCha20 under keys made of a sealing key. A seal hides; whether a pack is right says its own
signature, and a state image is right when its nonce is the MAC of what was opened.
"""

from __future__ import annotations

import hmac
import re
import secrets
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tinyfin.errors import InputError, PackError
from tinyfin.field.keys import mac, terminal_keys
from tinyfin.formats import PACK_HEADER, PACK_MAGIC, PackHeader
from tinyfin.pack.key_files import read_secret
from tinyfin.pack.signing import hash32

__all__ = [
    "KEY_ID_BYTES",
    "NONCE_BYTES",
    "Kind",
    "Sealed",
    "is_sealed",
    "key_id",
    "load_sealing_key",
    "open_sealed",
    "parse_key_id",
    "parse_sealed",
    "seal_pack",
    "seal_state",
    "terminal_sealing_key",
]

KEY_ID_BYTES = 8
"""How the hash begins that names a sealing key."""
NONCE_BYTES = 24

_MAGIC = b"TFSD"
_VERSION = 1
_HEAD = struct.Struct(f"<4sHBBII{KEY_ID_BYTES}s{NONCE_BYTES}s")
_CHECK_BYTES = 16


class Kind(IntEnum):
    """What is sealed."""

    PACK = 1
    STATE = 2

    @property
    def what(self) -> str:
        """In words."""
        return "pack" if self == Kind.PACK else "state image"


_USES = {Kind.PACK: b"packs", Kind.STATE: b"state"}


@dataclass(frozen=True)
class Sealed:
    """A sealed pack or state image, still closed."""

    kind: Kind
    key_id: bytes
    """8 bytes that name the key which sealed it."""
    nonce: bytes
    """24 bytes: of a pack random, of a state image the MAC over it."""
    content: bytes
    """The encrypted bytes, as many as were sealed."""

    @property
    def announced(self) -> bytes:
        """What PACK_BEGIN carries behind the header: id of the key and nonce, 32 bytes."""
        return self.key_id + self.nonce

    @property
    def what(self) -> str:
        """Its kind in words."""
        return self.kind.what

    def encode(self) -> bytes:
        """The file."""
        size = len(self.content)
        head = _HEAD.pack(_MAGIC, _VERSION, self.kind, 0, size, 0, self.key_id, self.nonce)
        return head + self.content + _check(head + self.content)


def key_id(key: bytes) -> bytes:
    """The 8 bytes that name a 32-byte sealing key, and tell nothing of it."""
    return mac(key, b"ident", KEY_ID_BYTES)


def parse_key_id(text: str) -> bytes:
    """8 bytes from 16 hexadecimal digits. Raises InputError."""
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * KEY_ID_BYTES}}}", text):
        raise InputError(
            f"sealing key id {text!r}: give the 16 hexadecimal digits that `tinyfin keygen` printed"
        )
    return bytes.fromhex(text)


def load_sealing_key(path: str | Path) -> bytes:
    """The 32 bytes of a file of `tinyfin keygen --kind seal`. Raises InputError, ToolError."""
    return read_secret(path, "seal", "a sealing key")


def terminal_sealing_key(fleet: bytes, terminal: bytes) -> bytes:
    """The sealing key that a terminal of this id (8 bytes) makes of its report key."""
    return mac(terminal_keys(fleet, terminal).report, b"seal")


def seal_pack(pack: bytes, key: bytes) -> Sealed:
    """Encrypt a pack under a 32-byte sealing key and a fresh random nonce."""
    return _sealed(Kind.PACK, pack, key, secrets.token_bytes(NONCE_BYTES))


def seal_state(image: bytes, key: bytes) -> Sealed:
    """Encrypt a state image under a 32-byte sealing key, as a terminal does: the same image and
    key give the same bytes."""
    return _sealed(Kind.STATE, image, key, _state_nonce(image, key))


def is_sealed(data: bytes) -> bool:
    """Whether a file begins as a sealed one does."""
    return data.startswith(_MAGIC)


def parse_sealed(data: bytes, where: str | Path) -> Sealed:
    """Read a sealed file; needs no key. Raises PackError, which begins with ``where``, when any
    byte of it is not as it was written."""
    if not is_sealed(data):
        raise PackError(f"{where}: is not sealed: byte 0: it does not begin with TFSD")
    if len(data) < _HEAD.size + _CHECK_BYTES:
        raise PackError(f"{where}: ends at byte {len(data)}, within its head; copy it again")
    _, version, kind, zero, size, zeros, named, nonce = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise PackError(
            f"{where}: byte 4: a sealed file of version {version}; this tinyfin knows {_VERSION}; "
            "update tinyfin, or make the file with this one"
        )
    whole = _HEAD.size + size + _CHECK_BYTES
    if len(data) != whole:
        raise PackError(f"{where}: has {len(data)} bytes and says {whole}; copy it again")
    if not hmac.compare_digest(data[-_CHECK_BYTES:], _check(data[:-_CHECK_BYTES])):
        raise PackError(f"{where}: its checksum is wrong, so it is damaged; copy it again")
    if zero or zeros or kind not in list(Kind):
        raise PackError(
            f"{where}: byte 6: kind {kind}, or bytes that are not 0 where none are used; this "
            "tinyfin knows 1, a pack, and 2, a state image"
        )
    return Sealed(Kind(kind), named, nonce, data[_HEAD.size : -_CHECK_BYTES])


def open_sealed(sealed: Sealed, key: bytes, where: str | Path) -> bytes:
    """Decrypt with a 32-byte sealing key. Raises InputError for another key than the one that
    sealed it, PackError when what comes out is not what was sealed."""
    if key_id(key) != sealed.key_id:
        raise InputError(
            f"{where}: was sealed by key {sealed.key_id.hex()}, and this is key "
            f"{key_id(key).hex()}; give the other one with --seal-key"
        )
    data = _stream(sealed.kind, sealed.content, key, sealed.nonce)
    right = _is_pack(data) if sealed.kind == Kind.PACK else sealed.nonce == _state_nonce(data, key)
    if not right:
        raise PackError(
            f"{where}: what is in it is not the {sealed.what} that was sealed: it was changed "
            "since; get it again from where it was made"
        )
    return data


def _sealed(kind: Kind, data: bytes, key: bytes, nonce: bytes) -> Sealed:
    return Sealed(kind, key_id(key), nonce, _stream(kind, data, key, nonce))


def _stream(kind: Kind, data: bytes, key: bytes, nonce: bytes) -> bytes:
    """Encrypt or decrypt: XChaCha20 from its first block on, under the key for this kind."""
    import monocypher

    return bytes(monocypher.chacha20(mac(key, _USES[kind]), nonce, data))


def _state_nonce(image: bytes, key: bytes) -> bytes:
    return mac(mac(key, b"nonce"), image, NONCE_BYTES)


def _is_pack(data: bytes) -> bool:
    """Whether the bytes begin with the header of a pack and have the digest that it says."""
    if len(data) < PACK_HEADER.size:
        return False
    header = PackHeader.read(data)
    body = data[PACK_HEADER.size :]
    return (
        header.magic == PACK_MAGIC
        and header.total_bytes == len(data)
        and header.digest == hash32(body)
    )


def _check(data: bytes) -> bytes:
    return hash32(data)[:_CHECK_BYTES]
