# SPDX-License-Identifier: Apache-2.0
"""The public keys that a pack is checked against, in addition to the development key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyfin import files
from tinyfin.errors import InputError, PackError
from tinyfin.pack.container import Pack, parse_pack
from tinyfin.pack.key_files import Kind, read_public, text_of
from tinyfin.pack.signing import DEVELOPMENT_KEY, DEVELOPMENT_KEY_TEXT, key_id, public_key

__all__ = [
    "PUBLIC_KEY_FILE",
    "keys_beside",
    "load_public_key",
    "require_trusted",
    "save_public_key",
    "trusted_keys",
]

PUBLIC_KEY_FILE = "public.key"
"""What a run remembers of the release key that signed its pack, next to the pack."""


def load_public_key(path: str | Path, kind: Kind = "release") -> bytes:
    """The 32 bytes of a public key file. Raises InputError when it is not one of this kind."""
    public = read_public(path, kind)
    if public == DEVELOPMENT_KEY.public:
        raise InputError(f"{path}: {DEVELOPMENT_KEY_TEXT}")
    return public


def save_public_key(public: bytes, path: str | Path, kind: Kind = "release") -> None:
    """Write a public key file. Raises InputError when it cannot be written."""
    files.write(path, text_of(public, f"{kind}-public"))


def keys_beside(run: str | Path) -> tuple[bytes, ...]:
    """The key that a run folder, or the folder of a pack, remembers; empty when it has none."""
    path = Path(run)
    file = (path if path.is_dir() else path.parent) / PUBLIC_KEY_FILE
    return (load_public_key(file),) if file.is_file() else ()


def trusted_keys(run: str | Path, files: Sequence[str | Path] = ()) -> tuple[bytes, ...]:
    """The keys of ``files``; the one that the run remembers when there are none."""
    if not files:
        return keys_beside(run)
    return tuple(dict.fromkeys(load_public_key(file) for file in files))


def require_trusted(
    pack: bytes, keys: Sequence[bytes], where: str | Path, *, release: bool = False
) -> Pack:
    """Parse a pack whose signature one of ``keys`` or the development key verifies.

    release: the development key does not count. Raises PackError that names ``--public-key`` when
    the pack is signed by another key, and as :func:`parse_pack` does.
    """
    found = parse_pack(pack, keys=keys)
    if release and found.development:
        raise PackError(
            f"{where}: signed by the development key, which a release refuses; sign it with "
            "`tinyfin sign PACK --key FILE`, a key of `tinyfin keygen`"
        )
    if not found.verified:
        if any(key_id(public_key(key)) == found.key_id for key in keys):
            raise PackError(
                f"{where}: --public-key was given the secret key that signed this pack; give its "
                "public half, which `tinyfin keygen` wrote next to it (.pub)"
            )
        raise PackError(
            f"{where}: signed by key {found.key_id:08x}, which is not trusted here; give its "
            "public key with --public-key FILE"
        )
    return found
