# SPDX-License-Identifier: Apache-2.0
"""Leases: who uses a board, and until when.

A lease is a file beside nothing else: owner, process and an end in time. It is renewed while its
owner works. One whose end has passed, or whose process is gone, is anybody's: a job that was
killed blocks nobody for longer than :data:`TTL_S`.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import re
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from tinyfin import files
from tinyfin.errors import BenchError, InputError

__all__ = ["TTL_S", "Holder", "Lease", "lease_dir"]

TTL_S = 60.0
"""For so long a lease holds without being renewed."""

_POLL_S = 0.5
_GUARD_S = 10.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lease. Times are seconds since 1970."""

    owner: str
    host: str
    pid: int
    what: str
    since: float
    until: float
    token: str

    def __str__(self) -> str:
        until = time.strftime("%H:%M:%S", time.localtime(self.until))
        return f"{self.owner}@{self.host}, process {self.pid} ({self.what}), until {until}"


def lease_dir() -> Path:
    """``TINYFIN_LEASES``, or a folder for all users of this machine. Created when missing."""
    folder = Path(os.environ.get("TINYFIN_LEASES") or Path(tempfile.gettempdir(), "tinyfin-leases"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):
            folder.chmod(0o777)  # whoever takes over a stale lease replaces another user's file
    except OSError as error:
        raise BenchError(
            f"{folder}: leases cannot be kept here: {error.strerror}; name another folder in the "
            "environment variable TINYFIN_LEASES"
        ) from error
    return folder


class Lease:
    """The right to use one board; a context manager, which waits for it, renews it, gives it back.

    name: what tells the board from others on this machine (a USB serial number, a location).
    wait_s: for how long to wait while somebody else has it. note: told whom one waits for.
    Raises BenchError naming the holder when the wait is over.
    """

    def __init__(
        self,
        name: str,
        what: str,
        *,
        wait_s: float = 0.0,
        ttl_s: float = TTL_S,
        folder: Path | None = None,
        note: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.name = name
        self.ttl_s = ttl_s
        self._what = what
        self._wait_s = wait_s
        self._note = note
        folder = folder or lease_dir()
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        self.path = folder / f"{safe}.lease"
        self._guard_path = folder / f"{safe}.guard"
        self._token = secrets.token_hex(8)
        self._since = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost: str | None = None

    # ------------------------------------------------------------------ taking and giving back

    def acquire(self) -> str | None:
        """Take it, waiting at most ``wait_s``; what was said of a stale lease that was taken over.

        Raises BenchError when somebody else keeps it.
        """
        end = time.monotonic() + self._wait_s
        told = ""
        while True:
            with self._guarded():
                holder = self.holder()
                stale = self._stale(holder) if holder else None
                if holder is None or stale:
                    self._since = time.time()
                    self._write()
                    return f"took over the lease of {holder}: {stale}" if stale else None
            if time.monotonic() >= end:
                raise BenchError(
                    f"{self.name}: in use by {holder}; wait longer (--wait SECONDS, or "
                    f"deadlines.lease_s), or end that job. A lease whose owner is gone ends by "
                    f"itself ({self.path})"
                )
            if holder.token != told:
                told = holder.token
                self._note(f"waiting for {self.name}, in use by {holder}")
            time.sleep(min(_POLL_S, max(0.01, end - time.monotonic())))

    def renew(self) -> None:
        """Make it last for another ``ttl_s``. BenchError when somebody has taken it over."""
        with self._guarded():
            holder = self.holder()
            if holder is None or holder.token != self._token:
                who = f"{holder} has it now" if holder else "its file is gone"
                self._lost = (
                    f"{self.name}: the lease ran out and {who}; this job was stopped or the "
                    "machine slept for longer than the lease lasts. Run again"
                )
                raise BenchError(self._lost)
            self._write()

    def release(self) -> None:
        """Give it back, unless it is somebody else's by now."""
        with self._guarded():
            holder = self.holder()
            if holder is not None and holder.token == self._token:
                self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """BenchError when it was lost since; the renewing thread has noticed."""
        if self._lost is not None:
            raise BenchError(self._lost)

    def holder(self) -> Holder | None:
        """Who holds it, stale or not; None when nobody does."""
        try:
            return Holder(**json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, OSError):
            # half a file: whoever wrote it has died over it
            return Holder("unknown", "", 0, "unreadable lease", 0.0, 0.0, "")

    def live_holder(self) -> Holder | None:
        """Who holds it, or None when nobody does, or one whose time is over."""
        holder = self.holder()
        return None if holder is None or self._stale(holder) else holder

    def __enter__(self) -> Lease:
        self.took_over = self.acquire()
        self._thread = threading.Thread(target=self._keep, daemon=True, name=f"lease {self.name}")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_GUARD_S)
        with contextlib.suppress(BenchError):
            self.release()

    def _keep(self) -> None:
        while self._lost is None and not self._stop.wait(self.ttl_s / 4):
            # a full disk may have room again, and whoever keeps the guard lets go of it
            with contextlib.suppress(OSError, InputError, BenchError):
                self.renew()

    # ------------------------------------------------------------------ the file

    def _stale(self, holder: Holder) -> str | None:
        if holder.until <= time.time():
            return "it had run out"
        if holder.host == socket.gethostname() and not _alive(holder.pid):
            return f"its process {holder.pid} is gone"
        return None

    def _write(self) -> None:
        now = time.time()
        holder = Holder(
            _user(), socket.gethostname(), os.getpid(), self._what, self._since, now + self.ttl_s,
            self._token,
        )  # fmt: skip
        files.write(self.path, json.dumps(asdict(holder)) + "\n")

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """One process at a time looks at the lease and changes it, for moments."""
        end = time.monotonic() + _GUARD_S
        descriptor = os.open(self._guard_path, os.O_RDWR | os.O_CREAT, 0o666)
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o666)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= end:
                        raise BenchError(
                            f"{self._guard_path}: another process has kept this file for "
                            f"{_GUARD_S:g} s; end it"
                        ) from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
