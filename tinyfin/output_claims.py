# SPDX-License-Identifier: Apache-2.0
"""Names of outputs, claimed by one process at a time.

A claim is a lock (flock) on a hidden file next to the name. The kernel releases it when the process
ends, however it ends, so a killed process blocks no other.

flock is imported where it is called: codegen writes files without a claim, and PlatformIO runs it
on Windows, too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tinyfin.cache import open_lock
from tinyfin.errors import InputError
from tinyfin.text import one_line

__all__ = ["claimed", "temporary_name"]

_POLL_S = 0.05
_HOLDER_BYTES = 1 << 16
_VERB_CHARS = 120
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of a file system that has no locks."""
_held = threading.local()
"""``names``: what this thread has claimed."""


def temporary_name(place: Path) -> Path:
    """Where this thread makes what will take the place of ``place``: a hidden name in the same
    file system.

    Whoever claims ``place`` next removes what a dead process left there.
    """
    return _home(place) / f".{place.name}.{os.getpid()}.{threading.get_ident()}"


def _home(place: Path) -> Path:
    """The folder of the hidden names: the one that holds ``place``, or ``place`` itself where it is
    a mounted folder or where this user cannot write next to it."""
    shut = place.is_dir() and (os.path.ismount(place) or not os.access(place.parent, os.W_OK))
    return place if shut else place.parent


@contextlib.contextmanager
def claimed(
    path: str | Path, *, shared: bool = False, wait_s: float = 0.0, make_folder: bool = False
) -> Iterator[None]:
    """Hold the name ``path``, a file or a folder, for the length of the block.

    The same thread may claim it again. ``shared``: others may share it, and none may
    hold it alone. ``wait_s``: how long to wait for another process. ``make_folder``: create the
    folder that it is in. A pipe or a device is not locked. Raises InputError when another process
    holds the name, which one, or when nothing can be written there.
    """
    given, place = path, Path(path).resolve()
    mine: set[Path] = _held.__dict__.setdefault("names", set())
    if place in mine or (place.exists() and not place.is_file() and not place.is_dir()):
        yield
        return
    try:
        if make_folder:
            place.parent.mkdir(parents=True, exist_ok=True)
        lock = _home(place) / f".{place.name}.lock"
        file = _locked(given, lock, shared, wait_s)
    except OSError as error:
        raise InputError(
            f"{given}: cannot be written: {error.strerror or error}; choose another path"
        ) from error
    mine.add(place)
    try:
        if not shared:
            _sweep(place)
        yield
    finally:
        mine.remove(place)
        _release(file, lock, shared)


def _locked(given: str | Path, lock: Path, shared: bool, wait_s: float) -> TextIO:
    """The locked file, which says who holds it."""
    end = time.monotonic() + wait_s
    while True:
        file = open_lock(lock)
        try:
            _flock(file, shared, given)
            if not _is_at(file, lock):
                file.close()  # whoever held it has removed the file meanwhile
                continue
            if not shared:
                file.truncate(0)
            since = time.strftime("%Y-%m-%dT%H:%M:%S")
            _tell(file, {"pid": os.getpid(), "verb": _verb(), "since": since})
            return file
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            if time.monotonic() >= end:
                raise InputError(
                    f"{given}: {holder} is using this name; wait until it ends, or choose another "
                    "name"
                ) from None
            time.sleep(_POLL_S)
        except BaseException:
            file.close()
            raise


def _flock(file: TextIO, shared: bool, given: str | Path) -> None:
    """Lock a file at once. Raises BlockingIOError when somebody else holds the lock."""
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warnings.warn(
            f"{given}: this file system has no locks ({error.strerror}): let no other process "
            "write there meanwhile",
            stacklevel=2,
        )


def _release(file: TextIO, lock: Path, shared: bool) -> None:
    """Unlock, and remove the file unless somebody shares it."""
    import fcntl

    try:
        if shared:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(file, lock):
            lock.unlink(missing_ok=True)
    except OSError:  # others share it, or the folder is gone
        with contextlib.suppress(OSError):
            _tell(file, {"ended": os.getpid()})
    finally:
        file.close()


def _tell(file: TextIO, row: dict[str, Any]) -> None:
    """Add a line to a lock's file."""
    os.write(file.fileno(), json.dumps(row).encode() + b"\n")


def _is_at(file: TextIO, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), lock.lstat())
    except FileNotFoundError:
        return False


def _holder(file: TextIO) -> str:
    """In words: the last of those who wrote to the file and are alive."""
    hostile = (ValueError, LookupError, TypeError, OverflowError, RecursionError)
    with contextlib.suppress(OSError, *hostile):
        said = os.pread(file.fileno(), _HOLDER_BYTES, 0)
        rows = [json.loads(line) for line in said.splitlines()]
        ended = [row["ended"] for row in rows if "ended" in row]
        held = [row for row in rows if "pid" in row and row["pid"] not in ended]
        row = next((row for row in reversed(held) if _alive(int(row["pid"]))), held[-1])
        what = one_line(f"{row['verb']}, since {row['since']}", _VERB_CHARS)
        return f"process {int(row['pid'])} ({what})"
    return "another process"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _verb() -> str:
    # PlatformIO runs codegen where click may not be installed
    click = sys.modules.get("click")
    context = click.get_current_context(silent=True) if click is not None else None
    return context.command_path if context is not None else Path(sys.argv[0]).name or "python"


def _sweep(place: Path) -> None:
    """Remove what dead processes left of ``place``; put an old folder back that one of them had
    moved aside."""
    left = re.compile(rf"\.{re.escape(place.name)}\.\d+\.\d+(\.old)?")
    for entry in _home(place).iterdir():
        if not (match := left.fullmatch(entry.name)):
            continue
        if match[1] and not place.exists():
            entry.rename(place)
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
