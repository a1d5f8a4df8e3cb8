# SPDX-License-Identifier: Apache-2.0
"""State that outlives its process: a journal, and snapshots that let it begin anew."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter

from tinyfin.errors import InputError, TinyfinError
from tinyfin.progress import stage
from tinyfin.serving.bodies import RefusedError
from tinyfin.serving.journal import Journal

__all__ = ["Kept"]

T = TypeVar("T")


class Kept(ABC):
    """Base of the services: events are written down, then done, one request after the other."""

    def __init__(
        self, folder: Path | None, program_id: bytes, *, sync: bool, save_every_s: float
    ) -> None:
        """``folder`` None: nothing is kept. Raises InputError when it cannot be made."""
        self.folder, self.save_every_s = folder, save_every_s
        self.registry = CollectorRegistry()
        self.failures = Counter(
            "tinyfin_save_failures", "Snapshots that failed.", registry=self.registry
        )
        self.lock = asyncio.Lock()
        self.journal = None if folder is None else Journal(folder, program_id, sync=sync)
        self._count = 0
        self._saved = 1
        self._failed = False
        """Whether the state differs from what is on the disk."""
        self._task: asyncio.Task[None] | None = None
        self._snapshot: asyncio.Task[None] | None = None
        self._saving = asyncio.Lock()
        self._taking = set[asyncio.Task[object]]()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"{folder}: cannot be made: {error.strerror}; choose another folder"
                ) from error
            self._restore(folder)

    @abstractmethod
    def load(self, folder: Path) -> int:
        """Take the snapshot in the folder; the number of the first event that it may lack."""

    @abstractmethod
    def again(self, number: int, payload: bytes) -> None:
        """Do an event of the journal. Raises ValueError for what is none."""

    @abstractmethod
    async def snapshot(self, folder: Path) -> int:
        """Write a snapshot; the number of the first event that it may lack."""

    @property
    def status(self) -> str:
        """For /health."""
        return "failed" if self._failed else "ok"

    @property
    def next(self) -> int:
        """Number of the next event."""
        return self._count + 1 if self.journal is None else self.journal.next

    def _restore(self, folder: Path) -> None:
        assert self.journal is not None
        self._saved = self.load(folder)
        with stage("repeating the journal", None, "events") as running:
            for number, payload in self.journal.replay(self._saved):
                running.step(1)
                try:
                    self.again(number, payload)
                except (ValueError, TinyfinError) as error:
                    raise InputError(
                        f"{folder}: event {number} of the journal cannot be done again ({error}); "
                        "restore an older copy of the folder"
                    ) from error

    async def take(
        self,
        payloads: Sequence[bytes],
        apply: Callable[[int], T],
        require: Callable[[], None] = lambda: None,
    ) -> T:
        """Write down what events are, then ``apply`` them, from the number on that the first has.

        ``require`` raises what forbids it, with nothing in between that could change that. Goes on
        to its end when the request is cancelled. Raises RefusedError when they cannot be written:
        none of them counts.
        """
        task = asyncio.create_task(self._taken(payloads, apply, require))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        return await asyncio.shield(task)

    async def _taken(
        self, payloads: Sequence[bytes], apply: Callable[[int], T], require: Callable[[], None]
    ) -> T:
        async with self.lock:
            if self._failed:
                raise RefusedError.of(
                    503, "", None, "an event before this one failed; restart the service"
                )
            require()
            if self.journal is None:
                first = self._count + 1
                self._count += len(payloads)
                return apply(first)
            try:
                if self.journal.sync:
                    first = await asyncio.to_thread(self.journal.append, payloads)
                else:
                    first = self.journal.append(payloads)
            except OSError as error:
                raise RefusedError.of(
                    503, "", None, f"the journal cannot be written ({error}); send it again"
                ) from error
            try:
                return apply(first)
            except BaseException:
                # they may be done in part: neither they nor what follows goes to the disk
                self._failed = True
                self.journal.take_back()
                raise

    async def save(self) -> None:
        """Write a snapshot if anything has happened, and remove what of the journal it holds."""
        async with self._saving:
            if self.folder is None or self.journal is None or self._failed:
                return
            if self.journal.next == self._saved:
                return
            first = await self.snapshot(self.folder)
            self.journal.drop_before(first)
            self._saved = first

    async def start(self) -> None:
        """Save now and then."""
        self._task = asyncio.create_task(self._regularly())

    async def stop(self) -> None:
        """Save, and write no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._try_to_save()
        async with self.lock:
            if self.journal is not None:
                self.journal.close()

    async def _regularly(self) -> None:
        while True:
            await asyncio.sleep(self.save_every_s)
            # one that is under way when the service ends is waited for
            self._snapshot = asyncio.create_task(self._try_to_save())
            await asyncio.shield(self._snapshot)

    async def _try_to_save(self) -> None:
        """A snapshot that fails, however, loses nothing: the journal goes on."""
        try:
            await self.save()
        except Exception as error:
            self.failures.inc()
            said = error if isinstance(error, (OSError, TinyfinError)) else repr(error)
            print(f"error: no snapshot: {said}", file=sys.stderr, flush=True)
