# SPDX-License-Identifier: Apache-2.0
"""Files of a lake: what a function here has done outlives a kill and a power cut when it returns.

Everything is its owner's alone. A temporary name begins with a dot; whoever lists a folder leaves
such names out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from tinyfin.files import sync

__all__ = ["entries", "folder", "move", "remove", "sweep", "sync", "write"]


def folder(path: Path) -> None:
    """Make a folder, and those above it that are missing."""
    if not path.is_dir():
        folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        sync(path.parent)


def write(path: Path, data: bytes, *, named: bool = True) -> None:
    """A whole file in the place of what was there; not ``named``: its name is certain only after a
    :func:`sync` of its folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    if named:
        sync(path.parent)


def move(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Give files other names, in their order, on the same file system."""
    touched: dict[Path, None] = {}
    for source, target in pairs:
        os.replace(source, target)
        touched[target.parent] = touched[source.parent] = None
    for place in touched:  # targets before sources: a file may have two names, never none
        sync(place)


def remove(paths: Iterable[Path]) -> None:
    """Remove files; one that is gone is fine."""
    touched: dict[Path, None] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        touched[path.parent] = None
    for place in touched:
        sync(place)


def entries(place: Path) -> list[Path]:
    """The files of a folder by name, without temporary ones; none of a folder that is not there."""
    if not place.is_dir():
        return []
    return sorted(p for p in place.iterdir() if not p.name.startswith(".") and p.is_file())


def sweep(place: Path) -> None:
    """Remove the temporary files that a process has left. Nobody else may be writing there."""
    remove([path for path in place.glob(".*") if path.is_file()])
