# SPDX-License-Identifier: Apache-2.0
"""Files that are whole: written beside their place and renamed, so that no reader meets half of one
and an interrupted command leaves the old one."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinyfin.errors import InputError

__all__ = ["whole", "write"]


def write(path: str | Path, content: bytes | str, *, make_folder: bool = False) -> Path:
    """Write bytes, or text as UTF-8, as :func:`whole` does; returns the path.

    Bytes of a file name that are not UTF-8 become escapes, such as \\udce9, in the text.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with whole(path, make_folder=make_folder) as unfinished:
        unfinished.write_bytes(data)
    return Path(path)


@contextmanager
def whole(path: str | Path, *, make_folder: bool = False) -> Iterator[Path]:
    """The path to write to in a ``with`` block: its end puts the file in place of what was there at
    ``path``, an exception leaves the old one.

    A link stays a link, the mode of a file that was there stays, and what is no file (a pipe, a
    device) is written to as it is. make_folder: create the folder if need be. Raises InputError.
    """
    path = Path(path)
    place = path.resolve()
    plain = place.is_file() or not place.exists()
    unfinished = (
        place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}") if plain else place
    )
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            if plain:
                if place.exists():
                    shutil.copymode(place, unfinished)
                unfinished.replace(place)
        finally:
            if plain and place.parent.is_dir():
                unfinished.unlink(missing_ok=True)
    except OSError as error:
        here = {str(unfinished), str(place), *map(str, path.parents)}
        if error.filename is not None and str(error.filename) not in here:
            raise  # of a file that the block reads
        raise InputError(
            f"{path}: cannot be written: {error.strerror or error}; choose another path"
        ) from error
