# SPDX-License-Identifier: Apache-2.0
"""Secrets of a fleet's lake: the report keys of terminals, and the key that makes aliases.

A lake knows a terminal, a transaction and a card by an alias: 16 letters from a to p, the digits of
8 bytes of a MAC under the lake's key (:func:`tinyfin.field.keys.mac`). Letters, so that no alias
looks like a card number.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from tinyfin.errors import InputError
from tinyfin.field.keys import ID_BYTES, load_fleet_key, mac, parse_terminal_id, terminal_keys
from tinyfin.fleet import durable

__all__ = ["LakeKey", "ReportKeys", "letters", "make_lake_key", "report_keys_text"]

_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
_LINE = re.compile(r"([0-9a-f]{16}) ([0-9a-f]{64})")
_HEAD = "report-keys"
_MOST_KEPT = 1 << 20


def letters(data: bytes) -> str:
    """Bytes as two letters each, a to p."""
    return data.hex().translate(_LETTERS)


def _require_private(path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError(
            f"{path}: users other than its owner can read this key file; chmod 600 {path}"
        )


class ReportKeys:
    """Report keys by terminal: computed from a fleet key, or those of a file that has no other."""

    def __init__(self, fleet: bytes | None, known: Mapping[bytes, bytes] | None = None) -> None:
        self._fleet, self.known = fleet, dict(known or {})
        """``known``: by terminal id; empty when every key can be computed."""

    @classmethod
    def read(cls, path: Path) -> ReportKeys:
        """A fleet key of `tinyfin keygen --kind fleet`, or a file of `tinyfin fleet keys`. Raises
        InputError, ToolError."""
        _require_private(path)
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is no file of keys; it is not ASCII") from error
        if not lines or lines[0] != _HEAD:
            return cls(load_fleet_key(path))
        known = {}
        for number, line in enumerate(lines[1:], 2):
            match = _LINE.fullmatch(line)
            if match is None:
                raise InputError(
                    f"{path}, line {number}: is not a terminal id of 16 and a key of 64 digits; "
                    "make the file again with `tinyfin fleet keys`"
                )
            known[bytes.fromhex(match[1])] = bytes.fromhex(match[2])
        return cls(None, known)

    def of(self, terminal: bytes) -> bytes | None:
        """The report key (32 bytes) of a terminal; None when the file has none."""
        if self._fleet is not None:
            return terminal_keys(self._fleet, terminal).report
        return self.known.get(terminal)


def report_keys_text(fleet: bytes, terminals: Iterable[str]) -> str:
    """A file of the report keys of these terminals (ids of 16 digits), for a machine that shall not
    have the fleet key. Raises InputError."""
    ids = sorted({parse_terminal_id(text) for text in terminals})
    if not ids:
        raise InputError("report keys: no terminal is named; give their ids, a line each")
    rows = [f"{name.hex()} {terminal_keys(fleet, name).report.hex()}" for name in ids]
    return "\n".join([_HEAD, *rows]) + "\n"


def make_lake_key(path: Path) -> None:
    """A new key in a file of its own. Raises InputError when the file is there."""
    if os.path.lexists(path):
        raise InputError(f"{path}: is there already; name another file, or use it with --key")
    durable.folder(path.absolute().parent)
    durable.write(path, f"lake {secrets.token_hex(32)}\n".encode())


class LakeKey:
    """Makes a lake's aliases, and the key of its encryption, of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.terminal = lru_cache(_MOST_KEPT)(self._terminal)
        """The alias of a terminal id of 8 bytes."""

    @classmethod
    def read(cls, path: Path) -> LakeKey:
        """Raises InputError."""
        if not path.is_file():
            raise InputError(f"{path}: the key of the lake is not there; put it back")
        _require_private(path)
        match = re.fullmatch(r"lake ([0-9a-f]{64})\n?", path.read_text("ascii", "replace"))
        if match is None:
            raise InputError(f"{path}: is no key of a lake; `tinyfin fleet init` makes one")
        return cls(bytes.fromhex(match[1]))

    def _terminal(self, terminal: bytes) -> str:
        if len(terminal) != ID_BYTES:
            raise ValueError(f"a terminal id has {ID_BYTES} bytes")
        return self._alias(b"terminal", terminal)

    def transaction(self, terminal: bytes, number: int) -> str:
        """The alias of a transaction of a terminal; ``number``: its id, 64 bits."""
        return self._alias(b"transaction", terminal + number.to_bytes(8, "little"))

    def card(self, token: int) -> str:
        """The alias of a card; ``token``: 64 bits, not 0."""
        return self._alias(b"card", token.to_bytes(8, "little"))

    def tombstone(self, alias: str) -> str:
        """What says that this alias was erased, and does not say what it was."""
        return self._alias(b"erased", alias.encode())

    @property
    def encryption(self) -> bytes:
        """32 bytes, for AES-256."""
        return mac(self._secret, b"parquet")

    def _alias(self, what: bytes, message: bytes) -> str:
        return letters(mac(self._secret, what + message, 8))
