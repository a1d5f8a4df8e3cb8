# SPDX-License-Identifier: Apache-2.0
"""Notices to one terminal, in signed and counted pages: docs/formats/notices.md."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyfin.errors import DataError, InputError
from tinyfin.field.keys import ID_BYTES
from tinyfin.pack.signing import Key, verify

__all__ = [
    "PAGE_NOTICES",
    "Notice",
    "Page",
    "make_pages",
    "parse_page",
    "parse_pages",
    "read_notices",
    "sign_page",
    "verified_page",
]

PAGE_NOTICES = 8
"""Notices of a page: with so many it fits the smallest frame."""
MOST_NOTICES = 255

_MAGIC = 0x544E4654  # TFNT
_HEAD = struct.Struct(f"<IBBH{ID_BYTES}s")
_NOTICE = struct.Struct("<QQIB")
_SIGNATURE_BYTES = 64
_LAST_PAGE = (1 << 16) - 1


@dataclass(frozen=True)
class Notice:
    """What became known of one transaction."""

    id: int
    """Of the transaction, as the terminal numbered it."""
    t_tx_mono_s: int
    """When it was, by the terminal's clock, in s."""
    fraud: bool
    """False: it was cleared."""
    token: int = 0
    """Of the card; 0: not known."""


@dataclass(frozen=True)
class Page:
    """Notices that are signed and done together. Raises InputError when a field is out of range."""

    number: int
    """1 to 65535; a terminal does each number once, in ascending order."""
    terminal: bytes
    notices: tuple[Notice, ...]
    key_index: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.number <= _LAST_PAGE:
            raise InputError(f"page {self.number} of notices: the number is 1 to {_LAST_PAGE}")
        if len(self.terminal) != ID_BYTES or not any(self.terminal):
            raise InputError(f"page {self.number} of notices: names no terminal; give its id")
        if not 1 <= len(self.notices) <= MOST_NOTICES:
            raise InputError(
                f"page {self.number} of notices: has {len(self.notices)} of them; it is 1 to "
                f"{MOST_NOTICES}, and {PAGE_NOTICES} fit every terminal's frame"
            )
        if self.key_index not in (0, 1):
            raise InputError(f"page {self.number} of notices: its key index is 0 or 1")


def read_notices(path: str | Path) -> list[Notice]:
    """Notices from the columns ``id``, ``time`` (of the transaction, in s of the terminal's clock),
    ``label`` (fraud or cleared, 1 or 0) and, if there is one, ``token``, of CSV, Parquet or Arrow.

    Raises DataError that names file, row, column, value and rule of every bad row.
    """
    from tinyfin.data import parse
    from tinyfin.data.cells import by_value, flat, texts
    from tinyfin.data.problems import report
    from tinyfin.data.tables import column_names, read_table

    columns = ["id", "time", "label", *({"token"} & set(column_names(path)))]
    table, bad = read_table(path, dict(zip(columns, columns, strict=True)), optional=False)
    rule = "must be fraud or cleared, 1 or 0"
    words = {"fraud": 1, "1": 1, "cleared": 0, "0": 0}
    whole = {"id": 1 << 64, "time": 1 << 32, "token": 1 << 64}
    found = {}
    for name in columns:
        cells = flat(table.column(name))
        if name == "label":
            read = parse.Parsed(*by_value(texts(cells), lambda x: words.get(x.lower(), rule)))
        else:
            read = parse.integers(cells, 0, whole[name] - 1)
        for mask, broken in read.broken:
            bad.add(mask, name, cells, broken)
        if name != "token":
            bad.add(~read.present, name, cells, "is needed")
        found[name] = np.where(read.present, read.values, 0).view(np.uint64)
    ids, first, which = np.unique(found["id"], return_index=True, return_inverse=True)
    again = first[which] != np.arange(len(which))
    bad.add(again & ~bad.bad, "id", flat(table.column("id")), "an earlier row has this id")
    if bad.count:
        raise report([bad], table.num_rows + len(bad.ragged), "Correct the rows of the file")
    if not len(ids):
        raise DataError(f"{path}: holds no rows")
    token = found.get("token", np.zeros(len(which), np.uint64))
    rows = zip(found["id"], found["time"], found["label"], token, strict=True)
    return [Notice(int(i), int(t), bool(fraud), int(card)) for i, t, fraud, card in rows]


def make_pages(
    notices: Sequence[Notice],
    terminal: bytes,
    first: int,
    *,
    key_index: int = 0,
    size: int = PAGE_NOTICES,
) -> list[Page]:
    """Pages of ``size`` notices in their order, numbered from ``first`` on. Raises InputError."""
    parts = [tuple(notices[at : at + size]) for at in range(0, len(notices), size)]
    return [Page(first + i, terminal, part, key_index) for i, part in enumerate(parts)]


def sign_page(page: Page, signer: Key) -> bytes:
    """The bytes of a page: 80 and 21 for each notice."""
    signed = _HEAD.pack(_MAGIC, len(page.notices), page.key_index, page.number, page.terminal)
    signed += b"".join(_NOTICE.pack(x.id, x.token, x.t_tx_mono_s, x.fraud) for x in page.notices)
    return signed + signer.sign(signed)


def parse_page(data: bytes, where: str | Path = "page of notices") -> Page:
    """The page of ``data``; the signature is not checked. Raises InputError that begins with
    ``where``."""
    page, rest = _first(data, where)
    if rest:
        raise InputError(f"{where}: {len(rest)} bytes follow page {page.number}; copy it again")
    return page


def parse_pages(data: bytes, where: str | Path = "pages of notices") -> list[tuple[Page, bytes]]:
    """The pages of a file, each with its bytes. Raises InputError unless they are of one terminal
    and numbered one after another."""
    found: list[tuple[Page, bytes]] = []
    while data or not found:
        page, rest = _first(data, where)
        if found:
            before = found[-1][0]
            if (page.number, page.terminal) != (before.number + 1, before.terminal):
                raise InputError(
                    f"{where}: page {page.number} of terminal {page.terminal.hex()} follows page "
                    f"{before.number} of {before.terminal.hex()}; a file has the pages of one "
                    "terminal, in order"
                )
        found.append((page, data[: len(data) - len(rest)]))
        data = rest
    return found


def verified_page(
    data: bytes, keys: Sequence[bytes], where: str | Path = "page of notices"
) -> Page:
    """As :func:`parse_page`; also InputError unless the key of its index, of the public command
    keys of the terminal, has signed it."""
    page = parse_page(data, where)
    signed, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
    if page.key_index >= len(keys) or not verify(signature, signed, keys[page.key_index]):
        raise InputError(
            f"{where}: the signature of page {page.number} is not that of command key "
            f"{page.key_index}; sign it again"
        )
    return page


def _first(data: bytes, where: str | Path) -> tuple[Page, bytes]:
    """The page that ``data`` begins with, and what follows it."""
    end = _HEAD.size + (data[4] * _NOTICE.size if len(data) > 4 else 0)
    if data[:4] != _MAGIC.to_bytes(4, "little") or len(data) < end + _SIGNATURE_BYTES:
        raise InputError(
            f"{where}: is no page of notices, which begins with TFNT, or ends early; make it with "
            "`tinyfin notices make`"
        )
    _, _, index, number, terminal = _HEAD.unpack_from(data)
    rows = list(_NOTICE.iter_unpack(data[_HEAD.size : end]))
    try:
        if any(fraud > 1 for *_, fraud in rows):
            raise InputError(f"page {number} of notices: a label is neither 1 nor 0")
        notices = tuple(Notice(i, t, bool(fraud), token) for i, token, t, fraud in rows)
        page = Page(number, terminal, notices, index)
    except InputError as error:
        raise InputError(f"{where}: {error}; update tinyfin, or make it again") from error
    return page, data[end + _SIGNATURE_BYTES :]
