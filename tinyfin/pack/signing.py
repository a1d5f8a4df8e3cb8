# SPDX-License-Identifier: Apache-2.0
"""Keys and signatures: EdDSA over Curve25519 with BLAKE2b, as Monocypher computes it.

The development key is public: anybody can sign with it. It lets packs be made and tried without
ceremony; a release build of the engine refuses whatever it signed.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tinyfin.errors import InputError
from tinyfin.formats import DEVELOPMENT_KEY_HEX
from tinyfin.pack.key_files import Kind, read_secret, save_secret, text_of

__all__ = [
    "DEVELOPMENT_KEY",
    "DEVELOPMENT_KEY_TEXT",
    "Key",
    "Signer",
    "development_key_header",
    "generate_key",
    "hash32",
    "load_key",
    "public_key",
    "save_key",
    "sign",
    "verify",
]

SEED_BYTES = 32
SIGNATURE_BYTES = 64
_PRIME = 2**255 - 19


def hash32(data: bytes) -> bytes:
    """BLAKE2b-256."""
    return hashlib.blake2b(data, digest_size=32).digest()


class Signer(Protocol):
    """Whatever signs: a :class:`Key`, or a device that computes EdDSA with BLAKE2b itself."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The signature of 64 bytes."""


@dataclass(frozen=True)
class Key:
    """A signing key: 32 secret bytes and the public key that belongs to them."""

    seed: bytes
    public: bytes

    @property
    def key_id(self) -> int:
        """First four bytes of the hash of the public key, little-endian."""
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """As :func:`sign`."""
        return sign(message, self)

    def __repr__(self) -> str:
        return f"Key({self.public.hex()})"


def key_id(public: bytes) -> int:
    """First four bytes of BLAKE2b-256 of a public key, little-endian."""
    return int.from_bytes(hash32(public)[:4], "little")


def public_key(seed: bytes) -> bytes:
    """The public key of a 32-byte seed.

    The secret scalar's Montgomery point u gives the Edwards y = (u - 1) / (u + 1); which of the two
    signs of x belongs to it is found by a trial signature.
    """
    import monocypher

    if len(seed) != SEED_BYTES:
        raise InputError(f"a signing key has {SEED_BYTES} bytes, not {len(seed)}")
    scalar = hashlib.blake2b(seed, digest_size=64).digest()[:32]
    u = int.from_bytes(monocypher.x25519_public_key(scalar), "little")
    y = (u - 1) * pow(u + 1, -1, _PRIME) % _PRIME
    for sign_of_x in (0, 1):
        candidate = (y | sign_of_x << 255).to_bytes(32, "little")
        trial = monocypher.signature_sign(seed + candidate, b"tinyfin")
        if monocypher.signature_check(trial, candidate, b"tinyfin"):
            return candidate
    raise AssertionError("a seed without a public key cannot exist")


def key_from_seed(seed: bytes) -> Key:
    """The key of a 32-byte seed."""
    return Key(seed, public_key(seed))


def generate_key() -> Key:
    """A new key from the system's random source."""
    return key_from_seed(secrets.token_bytes(SEED_BYTES))


def sign(message: bytes, key: Key) -> bytes:
    """64 bytes; the same key and message give the same bytes."""
    import monocypher

    return bytes(monocypher.signature_sign(key.seed + key.public, message))


def verify(signature: bytes, message: bytes, public: bytes) -> bool:
    """True when the signature is the key's over the message."""
    import monocypher

    return len(signature) == SIGNATURE_BYTES and bool(
        monocypher.signature_check(signature, public, message)
    )


DEVELOPMENT_KEY = Key(
    seed=hash32(b"tinyfin development key: public, never trust it"),
    public=bytes.fromhex(DEVELOPMENT_KEY_HEX),
)
"""Everybody's key. Its public half is in firmware/lib/tinyfin/src/development_key.h."""

DEVELOPMENT_KEY_TEXT = (
    "is the development key, with which anybody can sign; make a key of your own with `tinyfin "
    "keygen`, and leave the option out where the development key is meant"
)


def save_key(key: Key, path: str | Path, kind: Kind = "release") -> None:
    """Write the seed as hex, readable by the owner alone. Refuses to replace a file."""
    save_secret(path, text_of(key.seed, kind))


def load_key(path: str | Path, kind: Kind = "release") -> Key:
    """Read a key file. Raises InputError when it is not one of this kind, ToolError when it needs
    an HSM that is not there."""
    seed = read_secret(path, kind, "a signing key")
    if seed == DEVELOPMENT_KEY.seed:
        raise InputError(f"{path}: {DEVELOPMENT_KEY_TEXT}")
    return key_from_seed(seed)


def development_key_header() -> str:
    """The C header with the development public key."""
    rows = [
        "    " + ", ".join(f"0x{byte:02x}" for byte in DEVELOPMENT_KEY.public[i : i + 8]) + ","
        for i in range(0, 32, 8)
    ]
    return "\n".join(
        [
            "/* SPDX-License-Identifier: Apache-2.0 */",
            "/* The public half of the development key. Anybody can sign with it.",
            " * Generated by tinyfin.pack.signing. */",
            "#ifndef TINYFIN_DEVELOPMENT_KEY_H",
            "#define TINYFIN_DEVELOPMENT_KEY_H",
            "",
            "#include <stdint.h>",
            "",
            f"#define TFIN_DEVELOPMENT_KEY_ID 0x{DEVELOPMENT_KEY.key_id:08x}u",
            "",
            "static const uint8_t tfin_development_public_key[32] = {",
            *rows,
            "};",
            "",
            "#endif",
            "",
        ]
    )
