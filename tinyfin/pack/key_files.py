# SPDX-License-Identifier: Apache-2.0
"""Files of keys: one line, a word for the kind and 64 hex digits.

A release key, secret or public, is the digits alone, as it always was. Any other file names its
kind (``root``, ``root-public``, ``command``, ``person``, ``fleet``, ``seal``, ...), so that one key
cannot stand in another one's place by mistake.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from tinyfin import files
from tinyfin.errors import InputError
from tinyfin.output_claims import claimed

__all__ = [
    "KEY_BYTES",
    "KINDS",
    "Kind",
    "kind_of",
    "read_public",
    "read_secret",
    "save_secret",
    "text_of",
]

Kind = Literal["release", "root", "command", "person", "fleet", "seal"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a key is for: packs, the list of keys, commands and notices, what a person does in a
registry, the secrets of terminals, what is sealed."""

KEY_BYTES = 32


def text_of(key: bytes, kind: str, uri: str = "") -> str:
    """What a file of a key says. The kind of a public half ends in ``-public``, that of a secret
    which an HSM has sealed in ``-sealed``; ``uri`` names the HSM's key."""
    if kind in ("release", "release-public"):
        return f"{key.hex()}\n"
    return " ".join(filter(None, (kind, key.hex(), uri))) + "\n"


def kind_of(path: str | Path) -> str:
    """Of which kind the secret key of a file is. Raises InputError."""
    return _words(path, "a signing key")[0].removesuffix("-sealed")


def read_secret(path: str | Path, kind: Kind, what: str) -> bytes:
    """The 32 secret bytes of a file, which an HSM opens when it is a sealed one.

    Raises InputError when it holds no secret key of this kind, ToolError when the HSM is not there.
    """
    found, key, uri = _words(path, what)
    if found.endswith("-sealed"):
        from tinyfin.pack.sealed_keys import opened

        _refuse_other_kind(path, found.removesuffix("-sealed"), kind)
        return opened(path, found, key, uri)
    _refuse_other_kind(path, found, kind)
    return _whole(path, key, what)


def read_public(path: str | Path, kind: Kind) -> bytes:
    """The 32 bytes of a public key of this kind. Raises InputError when the file holds none."""
    what = "a public key"
    found, key, _ = _words(path, what)
    _refuse_other_kind(path, found, kind, public=True)
    return _whole(path, key, what)


def _words(path: str | Path, what: str) -> tuple[str, bytes, str]:
    """Kind, bytes, and what follows them."""
    try:
        words = Path(path).read_text(encoding="ascii").split()
        kind = "release"
        if words and not _is_hex(words[0]):
            kind = words.pop(0)
        return kind, bytes.fromhex(words.pop(0) if words else ""), " ".join(words)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as {what}: {error}") from error


def _whole(path: str | Path, key: bytes, what: str) -> bytes:
    if len(key) != KEY_BYTES:
        raise InputError(f"{path}: holds {len(key)} bytes; {what} is 64 hex digits")
    return key


def _refuse_other_kind(path: str | Path, found: str, wanted: Kind, *, public: bool = False) -> None:
    """InputError unless a file of the kind ``found`` holds what is wanted: a secret or public key.

    A file of bare digits is either half of a release key.
    """
    if found == "release" == wanted or found == (f"{wanted}-public" if public else wanted):
        return
    is_public = found.endswith("-public")
    kind = found.removesuffix("-public").removesuffix("-sealed")
    half = "public half of a" if is_public else "secret"
    what = f"the {half} {kind} key" if kind in KINDS else f"a key of the kind {found!r}"
    if is_public and not public:
        advice = "give the file without .pub"
    elif public and kind == wanted:
        advice = "give its public half, the .pub next to it"
    else:
        advice = f"make one with `tinyfin keygen FILE --kind {wanted}`"
    raise InputError(
        f"{path}: holds {what}; a {'public ' * public}{wanted} key is wanted here: {advice}"
    )


def save_secret(path: str | Path, text: str) -> None:
    """Write a file readable by its owner alone. Raises InputError rather than replace one."""
    with claimed(path):
        if os.path.lexists(path):
            raise InputError(f"{path}: exists already; a key is never replaced")
        with files.whole(path, private=True) as unfinished:
            unfinished.write_text(text, encoding="ascii")


def _is_hex(word: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in word)
