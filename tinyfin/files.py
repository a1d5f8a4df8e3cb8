# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are whole: made next to their place and put there at once, so that no
reader meets half of one and an interrupted command leaves the old one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tinyfin.errors import InputError, TinyfinError
from tinyfin.output_claims import claimed, temporary_name

__all__ = ["FULL", "folder", "remove_unfinished", "require_space", "sync", "whole", "write"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk on which there is no space."""
_NEARLY_FULL_BYTES = 1 << 20
_unfinished: set[Path] = set()
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def write(
    path: str | Path, content: bytes | str, *, make_folder: bool = False, durable: bool = False
) -> Path:
    """Write bytes, or text as UTF-8, as :func:`whole` does; returns the path.

    Bytes of a file name that are not UTF-8 become escapes, such as \\udce9, in the text.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with whole(path, make_folder=make_folder, durable=durable) as unfinished:
        unfinished.write_bytes(data)
    return Path(path)


@contextmanager
def whole(
    path: str | Path, *, make_folder: bool = False, private: bool = False, durable: bool = False
) -> Iterator[Path]:
    """The path to write to in a ``with`` block: its end puts the file in place of what was there at
    ``path``, an exception leaves the old one.

    A link stays a link, the mode of a file that was there stays, and what is no file (a pipe, a
    device) is written to as it is. make_folder: create the folder if need be. private: a new file
    is its owner's alone. durable: a power cut leaves one or the other file, too. Raises InputError.
    """
    path = Path(path)
    place = path.resolve()
    plain = place.is_file() or not place.exists()
    unfinished = temporary_name(place) if plain else place
    _unfinished.update({unfinished} if plain else ())
    try:
        with _explained(path, (unfinished, place, *path.parents)):
            if make_folder:
                path.parent.mkdir(parents=True, exist_ok=True)
            if plain and private:
                os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, 0o600))
            yield unfinished
            if plain:
                if place.exists():
                    shutil.copymode(place, unfinished)
                if durable:
                    sync(unfinished)
                unfinished.replace(place)
                if durable:
                    sync(place.parent)
    finally:
        _unfinished.discard(unfinished)
        if plain and place.parent.is_dir():
            unfinished.unlink(missing_ok=True)


@contextmanager
def folder(
    path: str | Path,
    *,
    empty: bool = False,
    keep: tuple[type[TinyfinError], ...] = (),
    ours: Collection[str] | None = None,
) -> Iterator[Path]:
    """A copy of the folder ``path`` to change in a ``with`` block, empty when there is none or when
    asked for: its end puts the copy in the folder's place at once, an exception leaves the old one.

    Files of the copy are links to the old ones: replace them (:func:`write`), never write into one.
    The name is claimed meanwhile. keep: exceptions that keep the changes, too. ours: the names that
    may be in it, None for all. A folder that holds others, that the process works in or that is
    mounted stays itself, and what is new is put into it file by file. Raises InputError.
    """
    place = Path(path).resolve()
    made = temporary_name(place)
    with claimed(path, make_folder=True):
        _unfinished.add(made)
        try:
            with _explained(path, (made, place), made):
                if place.is_dir() and not empty:
                    own = shutil.ignore_patterns(f".{place.name}.*")
                    shutil.copytree(place, made, symlinks=True, ignore=own, copy_function=_link)
                else:
                    made.mkdir()
                try:
                    yield made
                except keep:
                    _put(made, place, ours)
                    raise
                _put(made, place, ours)
        finally:
            shutil.rmtree(made, ignore_errors=True)
            _unfinished.discard(made)


def sync(path: Path) -> None:
    """Have the disk hold what is in a file, or which names a folder has. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished() -> None:
    """Remove what blocks of :func:`whole` and :func:`folder` have not finished: for a process that
    ends without leaving them."""
    for path in list(_unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def require_space(path: str | Path, needed_bytes: int, what: str) -> None:
    """InputError when nothing can be written at ``path``, or its file system has less space than
    ``what`` will need."""
    folder = _there(Path(path).resolve())
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"{path}: cannot be written: {os.strerror(errno.EACCES)}; choose another path"
        )
    free = _free(folder)
    if free < needed_bytes:
        raise InputError(
            f"{path}: {what} will need about {_size(needed_bytes)}, and {_size(free)} are free "
            "there; free some space, or choose another path"
        )


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 10_000_000 else f"{count / 1e3:,.0f} kB"


@contextmanager
def _explained(path: str | Path, own: Iterable[Path], made: Path | None = None) -> Iterator[None]:
    """What goes wrong with writing ``path`` as InputError; errors of other files are not touched.

    own: names that the caller writes to. made: a folder in the place of ``path``: messages name
    ``path`` in its place.
    """
    try:
        yield
    except TinyfinError as error:
        if made is not None:
            error.args = tuple(str(arg).replace(str(made), str(path)) for arg in error.args)
        raise
    except Exception as error:
        told = (error.strerror or str(error)) if isinstance(error, OSError) else ""
        name = getattr(error, "filename", None)
        place = Path(os.fsdecode(name)) if isinstance(name, (str, bytes)) else None
        ours = (
            place is None
            or place in own
            or (
                made is not None
                and made in place.parents
                and not isinstance(error, FileNotFoundError)
            )
        )
        # a library may not say in an OSError that the disk is full
        nearly = [p for p in (path, tempfile.gettempdir()) if _free(p) < _NEARLY_FULL_BYTES]
        if nearly or (isinstance(error, OSError) and error.errno in FULL):
            raise InputError(
                f"{path}: cannot be written: {os.strerror(errno.ENOSPC)}"
                f"{f' at {nearly[0]}' if nearly else ''}; free some space, or choose another path"
            ) from error
        if not (isinstance(error, OSError) and ours):
            raise
        raise InputError(f"{path}: cannot be written: {told}; choose another path") from error


def _free(path: str | Path) -> int:
    """Bytes that are free where a path leads."""
    return shutil.disk_usage(_there(Path(path).resolve())).free


def _there(place: Path) -> Path:
    """The nearest folder above ``place`` that exists."""
    return next(folder for folder in (place, *place.parents) if folder.is_dir())


def _link(source: str, target: str) -> None:
    """A second name for a file; a copy where the file system knows no such thing."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _put(made: Path, place: Path, ours: Collection[str] | None) -> None:
    """Put the folder ``made`` in the place of ``place``, in one step where that is possible; what
    was there is at ``made`` then."""
    if not place.exists():
        made.rename(place)
        return
    others = ours is not None and any(entry.name not in ours for entry in place.iterdir())
    if others or made.parent == place or _is_inside(place):
        _put_each(made, place, clear=ours is None)
        return
    try:
        _exchange(made, place)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise OSError(error.errno, os.strerror(error.errno or 0), str(place)) from error
        old = made.with_name(made.name + ".old")  # whoever claims the name next puts it back
        place.rename(old)
        made.rename(place)
        old.rename(made)


def _is_inside(place: Path) -> bool:
    """Whether this process works in a folder, as then the shell does that has started it."""
    with contextlib.suppress(FileNotFoundError):
        return Path.cwd().is_relative_to(place)
    return False


def _put_each(made: Path, place: Path, *, clear: bool) -> None:
    """Put what is in the folder ``made`` into ``place``, one after another; ``clear``: remove what
    else is there."""
    new, old = _entries(made), _entries(place, without=f".{place.name}.")
    for name, is_folder in new.items():
        source, target = made / name, place / name
        if is_folder:
            target.mkdir(exist_ok=True)
        elif name not in old or not source.samefile(target):
            source.replace(target)
    for name in sorted(old.keys() - new.keys(), reverse=True) if clear else ():
        target = place / name
        target.rmdir() if old[name] else target.unlink()


def _entries(folder: Path, without: str = "\0") -> dict[Path, bool]:
    """What is in a folder, each folder before its entries: whether it is a folder. Names that begin
    as ``without`` does are left out."""
    return {
        path.relative_to(folder): path.is_dir() and not path.is_symlink()
        for path in sorted(folder.rglob("*"))
        if not path.relative_to(folder).parts[0].startswith(without)
    }


def _exchange(one: Path, other: Path) -> None:
    """Swap two names. Raises OSError."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))
