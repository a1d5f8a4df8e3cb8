# SPDX-License-Identifier: Apache-2.0
"""Tar files of reports, compressed or not."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tinyfin.field.report import MOST_BYTES
from tinyfin.fleet.admission import Refused, Why

__all__ = ["is_archive", "members", "packed"]

_MOST_BYTES = 1 << 32
"""Unpacked; a smaller file may say that it holds more."""


def is_archive(path: Path) -> bool:
    """Whether a file is a tar; a file of a report's size is none."""
    return path.stat().st_size > MOST_BYTES and tarfile.is_tarfile(path)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file in it, of a long one as many as show that it is no report. Raises
    Refused when the archive is damaged or does not end as one does."""
    left = _MOST_BYTES
    try:
        with tarfile.open(path, "r:*") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                left -= member.size + tarfile.BLOCKSIZE
                if left < 0:
                    raise tarfile.TarError(f"more than {_MOST_BYTES >> 30} GiB")
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    data = file.read(MOST_BYTES + 1)
                    if len(data) < min(member.size, MOST_BYTES):
                        raise tarfile.TarError("a member is cut off")
                    yield member.name, data
            assert archive.fileobj is not None
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.TarError("it has no end")
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Refused(
            Why.ARCHIVE, f"{path.name}: is cut off or damaged ({error}); send it again"
        ) from error


def packed(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of files by name."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()
