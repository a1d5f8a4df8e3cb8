# SPDX-License-Identifier: Apache-2.0
"""Serial ports as devices that several programs and users share: one at a time, and who it is.

A port is locked while it is open. ``flock`` keeps out every program that locks, root's too;
``TIOCEXCL`` keeps out all others except root's. The kernel releases both when the process ends,
however it ends. Nothing is written anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import re
import stat
import termios
from collections.abc import Iterator
from pathlib import Path

from tinyfin.errors import BenchError
from tinyfin.text import one_line

__all__ = [
    "BUSY",
    "explain",
    "how_to_be_let_in",
    "lock",
    "process_words",
    "unlock",
    "user_name",
    "users_of",
]

BUSY = (errno.EBUSY, errno.EAGAIN)
"""Errors of a port that another program has locked."""
_PTS = range(136, 144)
"""Major numbers of pseudo-terminals. ``flock`` is all they get: whoever made one may keep it open,
and then ``TIOCEXCL`` would outlast the process that set it."""


def lock(descriptor: int, device: str) -> None:
    """Keep other programs from an open port. BenchError when one has it open already."""
    if not os.isatty(descriptor):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BenchError(explain(device, error)) from error
    if os.major(os.fstat(descriptor).st_rdev) in _PTS:
        return
    fcntl.ioctl(descriptor, termios.TIOCEXCL)
    if users := users_of(device):
        unlock(descriptor)
        raise BenchError(f"{device}: in use by {', '.join(users)}; end that program")


def unlock(descriptor: int) -> None:
    """Let other programs open the port again."""
    with contextlib.suppress(OSError):  # it is gone, or no terminal
        fcntl.ioctl(descriptor, termios.TIOCNXCL)
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def users_of(device: str) -> list[str]:
    """The other processes that have a device open or locked, in words.

    Of other users' processes only those are seen that have locked it; root sees all. Whoever made a
    pseudo-terminal is its far end, and no user of it.
    """
    try:
        about = os.stat(device)
    except OSError:
        return []
    pids = {*_lockers(about), *_openers(about)} - {os.getpid()}
    return [process_words(pid) for pid in sorted(pids)]


def _lockers(about: os.stat_result) -> Iterator[int]:
    """Process ids from the kernel's table of locks, which everybody may read."""
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            words = line.split()
            if place in words and "->" not in words and int(words[4]) > 0:
                yield int(words[4])


def _openers(about: os.stat_result) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # another user's, or it has ended meanwhile
            for descriptor in folder.iterdir():
                found = descriptor.stat()
                if stat.S_ISCHR(found.st_mode) and found.st_rdev == about.st_rdev:
                    if not _has_far_end(folder.parent, about.st_rdev):
                        yield int(folder.parent.name)
                    break


def _has_far_end(process: Path, device: int) -> bool:
    """Whether a process has the other side of a pseudo-terminal open."""
    if os.major(device) not in _PTS:
        return False
    number = os.minor(device) + 256 * (os.major(device) - _PTS[0])
    for info in (process / "fdinfo").iterdir():
        with contextlib.suppress(OSError):
            if f"tty-index:\t{number}\n" in info.read_text(encoding="utf-8"):
                return True
    return False


def process_words(pid: int) -> str:
    """A process in words: user, number, command."""
    user, command = "", ""
    folder = Path("/proc", str(pid))
    with contextlib.suppress(OSError):
        user = user_name(folder.stat().st_uid) + ", "
        words = (folder / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
        command = f" ({one_line(words.decode(errors='replace'), 80)})" if words else ""
    return f"{user}process {pid}{command}"


def user_name(uid: int) -> str:
    """The name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def explain(device: str, error: BaseException) -> str:
    """Why a port cannot be opened, and what to do."""
    number = _number(error)
    if number in BUSY:
        users = ", ".join(users_of(device)) or "another program, perhaps another user's"
        return f"{device}: in use by {users}; end that program, or wait for it"
    if number in (errno.EACCES, errno.EPERM):
        return f"{device}: this user may not open it; {how_to_be_let_in(device)}"
    if re.fullmatch(r"(\\\\\.\\)?COM\d+:?", device, re.I):
        return (
            f"{device}: is a name of Windows, where tinyfin runs in WSL 2: attach the board there "
            f"(usbipd attach --wsl) and use its name of Linux; {_what_is_there()}"
        )
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"{device}: there is no such port; {_what_is_there()}"
    if number in (errno.ENOTTY, errno.EINVAL, errno.ENOTDIR, errno.EISDIR):
        return f"{device}: is no serial port; {_what_is_there()}"
    if "://" in device:
        return (
            f"{device}: cannot be opened: {one_line(str(error))}; check the address, and that a "
            "server for this protocol listens there"
        )
    return f"{device}: cannot be opened: {one_line(str(error))}; check its name and the cable"


def _number(error: BaseException) -> int | None:
    """The system's number of an error, or of the one that it was raised for."""
    number = getattr(error, "errno", None)
    if isinstance(error, termios.error):
        number = error.args[0]
    if number is None and error.__context__ is not None:
        return _number(error.__context__)
    return number


def how_to_be_let_in(device: str) -> str:
    """What gives this user access to a port."""
    rules = "copy hil/70-tinyfin.rules to /etc/udev/rules.d and plug the board in again"
    try:
        group = grp.getgrgid(os.stat(device).st_gid)
    except (OSError, KeyError):
        return rules
    me = user_name(os.geteuid())
    if group.gr_gid == 0:
        return rules
    if me in group.gr_mem and group.gr_gid not in os.getgroups():
        return f"{me} is in group {group.gr_name} but this session began before: log in again"
    return f"sudo usermod -aG {group.gr_name} {me}, then log in again; or {rules}"


def _what_is_there() -> str:
    from serial.tools.list_ports import comports

    ports = ", ".join(sorted(port.device for port in comports()))
    return f"there are {ports}" if ports else "no serial port is plugged in"
