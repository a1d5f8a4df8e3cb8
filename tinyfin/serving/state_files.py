# SPDX-License-Identifier: Apache-2.0
"""What the files of a state have in common: how they begin, and a checksum at the end of a
snapshot."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tinyfin import files
from tinyfin.errors import InputError

__all__ = ["FORMAT", "START_OVER", "Snapshot", "facts_of", "reading", "writing"]

FORMAT = 1
START_OVER = "restore an older copy of the folder, or start with an empty one"
_CRC = struct.Struct("<I")


def facts_of(
    path: str | Path, raw: bytes, head: struct.Struct, magic: bytes, what: str, advice: str
) -> tuple[Any, ...]:
    """What a header says behind magic number, version and size. Raises InputError, with ``advice``,
    for a file that is no ``what``, damaged, or of a newer version."""
    if len(raw) < head.size or not raw.startswith(magic):
        raise InputError(f"{path}: is no {what}; {advice}")
    _, version, size, *facts = head.unpack(raw)
    if version > FORMAT:
        raise InputError(
            f"{path}: has format {version}, and this tinyfin reads up to {FORMAT}; read it with "
            "the tinyfin that wrote it, or a newer one"
        )
    if version != FORMAT or size != head.size:
        raise InputError(f"{path}: is damaged (its header breaks a rule); {advice}")
    return tuple(facts)


def writing(
    path: str | Path, pieces: Iterable[bytes], sync_journal: Callable[[], None]
) -> Iterator[None]:
    """Write a snapshot piece by piece, in steps between which events may come; whole and on the
    disk at the end.

    ``sync_journal`` is called before the file takes its name: it brings to the disk the events that
    the pieces hold. Raises InputError.
    """
    with (
        files.whole(path, make_folder=True, private=True, durable=True) as unfinished,
        unfinished.open("wb") as file,
    ):
        crc = 0
        for piece in pieces:
            file.write(piece)
            crc = zlib.crc32(piece, crc)
            yield
        file.write(_CRC.pack(crc))
        sync_journal()


class Snapshot:
    """A snapshot that is read from its beginning to its end."""

    def __init__(self, path: str | Path, file: BinaryIO, advice: str) -> None:
        self._path, self._file, self._advice = path, file, advice
        self._crc = 0
        self.left = os.fstat(file.fileno()).st_size - _CRC.size
        """Bytes in front of the checksum that were not taken yet."""

    def take(self, size: int) -> bytes:
        """The next bytes. Raises InputError when there are not so many."""
        piece = self._file.read(size) if size <= self.left else b""
        if len(piece) != size:
            raise InputError(f"{self._path}: is cut; {self._advice}")
        self._crc = zlib.crc32(piece, self._crc)
        self.left -= size
        return piece

    def facts(self, head: struct.Struct, magic: bytes, what: str) -> tuple[Any, ...]:
        """:func:`facts_of` this snapshot, which is read from behind them on then."""
        return facts_of(self._path, self.take(head.size), head, magic, what, self._advice)

    def damaged(self, why: object) -> InputError:
        """The error of a snapshot in which something is wrong."""
        return InputError(f"{self._path}: is damaged ({why}); {self._advice}")

    def end(self) -> None:
        """InputError unless the checksum is right, and nothing was left."""
        if self.left or self._file.read() != _CRC.pack(self._crc):
            raise self.damaged("its checksum differs")


@contextlib.contextmanager
def reading(path: str | Path, advice: str) -> Iterator[Snapshot]:
    """A snapshot to read; ``advice`` ends the errors of a damaged one. Raises InputError."""
    try:
        with Path(path).open("rb") as file:
            yield Snapshot(path, file, advice)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
