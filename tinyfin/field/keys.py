# SPDX-License-Identifier: Apache-2.0
"""Which keys a terminal obeys, and the secrets that are a terminal's own: docs/formats/keys.md."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from tinyfin.errors import InputError
from tinyfin.pack.key_files import KEY_BYTES, read_secret
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, verify

__all__ = [
    "ID_BYTES",
    "MANIFEST_BYTES",
    "MOST_KEYS",
    "KeyManifest",
    "TerminalKeys",
    "load_fleet_key",
    "mac",
    "parse_manifest",
    "parse_terminal_id",
    "sign_manifest",
    "terminal_keys",
]

ID_BYTES = 8
"""Of a terminal id."""
MOST_KEYS = 2
"""Release keys in a manifest, and command keys."""

_MAGIC = 0x4D4B4654  # TFKM
_ROOT_BYTES = 8
_HEAD = struct.Struct(f"<IHBB{_ROOT_BYTES}s12x")
_CRC = struct.Struct("<I")
_AT_KEYS = _HEAD.size + _CRC.size
_SIGNED_BYTES = _AT_KEYS + 2 * MOST_KEYS * KEY_BYTES
_SIGNATURE_BYTES = 64
MANIFEST_BYTES = _SIGNED_BYTES + _SIGNATURE_BYTES
_BLOCK_BYTES = 128


def mac(secret: bytes, message: bytes, size: int = KEY_BYTES) -> bytes:
    """The first ``size`` bytes, up to 32, of BLAKE2b-256 over the 32-byte secret, filled up with
    zeros to a block of 128, and the message."""
    block = secret.ljust(_BLOCK_BYTES, b"\0")
    return hashlib.blake2b(block + message, digest_size=32).digest()[:size]


@dataclass(frozen=True)
class TerminalKeys:
    """The secrets of one terminal, 32 bytes each."""

    report: bytes
    """Authenticates its reports and makes its nonces."""
    audit: bytes
    """Chains its audit log; the terminal replaces it step by step."""


def terminal_keys(fleet: bytes, terminal: bytes) -> TerminalKeys:
    """The secrets that a terminal of this id (8 bytes) gets in the factory."""
    return TerminalKeys(mac(fleet, b"report" + terminal), mac(fleet, b"audit" + terminal))


def load_fleet_key(path: str | Path) -> bytes:
    """The 32 bytes of a file of `tinyfin keygen --kind fleet`. Raises InputError, ToolError."""
    return read_secret(path, "fleet", "a fleet key")


def parse_terminal_id(text: str) -> bytes:
    """8 bytes from 16 hexadecimal digits. Raises InputError."""
    if not re.fullmatch("[0-9a-fA-F]{16}", text) or not int(text, 16):
        raise InputError(f"terminal id {text!r}: give 16 hexadecimal digits, not all 0")
    return bytes.fromhex(text)


@dataclass(frozen=True)
class KeyManifest:
    """The keys that the root key trusts: one or two for packs, one or two for commands.

    Raises InputError when it breaks a rule of the format.
    """

    version: int
    """1 to 65535; a terminal takes no lower one than it has."""
    release: tuple[bytes, ...]
    command: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.version < 1 << 16:
            raise InputError(f"key manifest: version {self.version}: give 1 to 65535")
        for what, keys in (("release", self.release), ("command", self.command)):
            if not 1 <= len(keys) <= MOST_KEYS:
                raise InputError(
                    f"key manifest: {len(keys)} {what} keys: give one, or two of which one "
                    "replaces the other"
                )
        every = self.release + self.command
        for i, key in enumerate(every):
            if len(key) != KEY_BYTES or not any(key):
                raise InputError(
                    f"key manifest: {_name(self, i)} is no key; give a .pub file of "
                    "`tinyfin keygen`"
                )
            if key in every[:i]:
                raise InputError(
                    f"key manifest: {_name(self, i)} is {_name(self, every.index(key))} too; "
                    "each needs a key of its own"
                )
            if key == DEVELOPMENT_KEY.public:
                raise InputError(
                    f"key manifest: {_name(self, i)} is the development key, with which anybody "
                    "can sign; make keys of your own with `tinyfin keygen`"
                )

    def place_of(self, command: bytes) -> int:
        """Index of a public command key. Raises InputError when it is not among them."""
        if command not in self.command:
            raise InputError(
                f"key manifest, version {self.version}: command key {command.hex()[:16]}... is not "
                "in it; sign with one that is, or give the terminals a manifest with this one"
            )
        return self.command.index(command)


def _name(manifest: KeyManifest, place: int) -> str:
    count = len(manifest.release)
    return f"release key {place + 1}" if place < count else f"command key {place - count + 1}"


def sign_manifest(manifest: KeyManifest, root: Key) -> bytes:
    """The 224 bytes of a manifest. Raises InputError when the root key is one of its keys."""
    if root.public in manifest.release + manifest.command:
        raise InputError(
            "key manifest: the root key is among its keys; it signs manifests alone, so give "
            "another key"
        )
    counts = (len(manifest.release), len(manifest.command))
    head = _HEAD.pack(_MAGIC, manifest.version, *counts, root.public[:_ROOT_BYTES])
    size = MOST_KEYS * KEY_BYTES
    keys = b"".join(b"".join(x).ljust(size, b"\0") for x in (manifest.release, manifest.command))
    signed = head + _CRC.pack(zlib.crc32(head + keys)) + keys
    return signed + root.sign(signed)


def parse_manifest(
    data: bytes, root: bytes | None = None, where: str | Path = "key manifest"
) -> KeyManifest:
    """The manifest of ``data``; ``root``: the public key that must have signed it, None not to
    check that. Raises InputError that begins with ``where``."""
    if len(data) != MANIFEST_BYTES or data[:4] != _CRC.pack(_MAGIC):
        raise InputError(
            f"{where}: is no key manifest: it is {MANIFEST_BYTES} bytes that begin with TFKM; make "
            "one with `tinyfin keys make`"
        )
    head, keys = data[: _HEAD.size], data[_AT_KEYS:_SIGNED_BYTES]
    if _CRC.unpack_from(data, _HEAD.size) != (zlib.crc32(head + keys),):
        raise InputError(f"{where}: its checksum is wrong, so it is damaged; copy it again")
    if root is not None and not verify(data[_SIGNED_BYTES:], data[:_SIGNED_BYTES], root):
        raise InputError(
            f"{where}: its signature is not the root key's; give the public half of the key that "
            "signed it, or copy it again"
        )
    _, version, releases, commands, of_root = _HEAD.unpack(head)
    if root is not None and of_root != root[:_ROOT_BYTES]:
        raise InputError(f"{where}: names another root key than the one that signed it")
    rows = [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)]
    unused = rows[releases:MOST_KEYS] + rows[MOST_KEYS + commands :]
    if max(releases, commands) > MOST_KEYS or any(head[16:]) or any(map(any, unused)):
        raise InputError(
            f"{where}: says that it has {releases} release and {commands} command keys, or has "
            "bytes in unused places; make it with this version of tinyfin"
        )
    try:
        return KeyManifest(
            version, tuple(rows[:releases]), tuple(rows[MOST_KEYS : MOST_KEYS + commands])
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
