# SPDX-License-Identifier: Apache-2.0
"""Folders of the cache that stay small: the newest entries of a kind are kept, the others go.

An entry is a file or folder made once and named after what it was made of. The process that
makes or uses one calls :func:`used`; what was used within :data:`REST_S` is never removed,
so no process loses what it is working with, however many build at the same time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

__all__ = ["REST_S", "keep_newest", "open_lock", "used"]

REST_S = 3600.0
"""Longer than any build or test lasts."""


def used(entry: Path) -> bool:
    """Say that an entry is in use now; False when it is not there."""
    if not entry.parent.is_dir():
        return False
    with _locked(entry.parent):
        try:
            os.utime(entry)
        except FileNotFoundError:
            return False
        return True


def keep_newest(folder: Path, count: int, *, rest_s: float = REST_S) -> None:
    """Remove the entries of ``folder`` that are neither among the ``count`` used last nor were used
    within ``rest_s`` seconds. Hidden names are left alone."""
    if not folder.is_dir():
        return
    gone = []
    with _locked(folder):
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        by_age = sorted(((entry.stat().st_mtime, entry) for entry in entries), reverse=True)
        for mtime, entry in by_age[count:]:
            if mtime < time.time() - rest_s:
                aside = folder / f".{os.getpid()}.{entry.name}"
                entry.rename(aside)
                gone.append(aside)
    for aside in gone:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Held for as long as it takes to look at times and rename, by one process at a time."""
    import fcntl

    with open_lock(folder / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def open_lock(path: Path) -> TextIO:
    """A file to lock, created if need be, to read and to append to. OSError when a
    link or anything but a plain file is there: no other user's file is written or locked."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    planted = f"the lock {path.name} is a link or not a plain file (remove it)"
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise OSError(errno.EEXIST, planted, str(path)) from error
        raise
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EEXIST, planted, str(path))
    return os.fdopen(descriptor, "a+", encoding="utf-8")
