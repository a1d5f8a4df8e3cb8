# SPDX-License-Identifier: Apache-2.0
"""Files that are whole: written beside their place and renamed, so that no reader meets half of one
and an interrupted command leaves the old one."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from tinyfin.errors import InputError

__all__ = ["write"]


def write(path: str | Path, content: bytes | str, *, make_folder: bool = False) -> Path:
    """Write bytes, or text as UTF-8, in the place of what was there; the path.

    A link stays a link, the mode of a file that was there stays, and what is no file (a pipe, a
    device) is written to as it is. make_folder: create the folder if need be. Raises InputError.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        place = path.resolve()
        if place.exists() and not place.is_file():
            place.write_bytes(data)
        else:
            _replace(place, data)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; choose another path"
        ) from error
    return path


def _replace(place: Path, data: bytes) -> None:
    beside = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        beside.write_bytes(data)
        if place.exists():
            shutil.copymode(place, beside)
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
