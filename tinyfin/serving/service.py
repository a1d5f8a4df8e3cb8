# SPDX-License-Identifier: Apache-2.0
"""What a service is: its operations, and a state that outlives the process by a journal and
snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict, TypeVar, Unpack

from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel

from tinyfin.errors import InputError, TinyfinError
from tinyfin.progress import stage
from tinyfin.serving.bodies import Body, RefusedError
from tinyfin.serving.card_check import CardCheck
from tinyfin.serving.journal import Journal

__all__ = ["Operation", "Options", "Service"]

T = TypeVar("T")


@dataclass(frozen=True)
class Operation:
    """What is posted to a path: items of ``model``, one alone or a list of them under ``many``;
    each is answered with an ``answer``, as JSON, under ``answer_one`` or ``answer_many``. The
    docstring of ``handle`` is its summary."""

    path: str
    handle: Callable[[Sequence[Any]], Awaitable[list[str]]]
    model: type[Body]
    many: str
    answer: type[BaseModel]
    answer_one: str
    answer_many: str


class Options(TypedDict, total=False):
    """What every service may be asked for."""

    folder: Path | None
    """Of its state; None: nothing is kept."""
    sync: bool
    """Whether a record is on the disk when it is answered."""
    save_every_s: float
    card_shaped_tokens: bool


class Service(ABC):
    """Base of the services: events are written down, then done, one request after the other."""

    title: ClassVar[str]
    snapshot_name: ClassVar[str]
    """Of its snapshot, in the folder of its state."""

    def __init__(self, program_id: bytes, **options: Unpack[Options]) -> None:
        """Raises InputError for a folder that cannot be made, or whose state is another's."""
        self.folder = folder = options.get("folder")
        self.save_every_s = options.get("save_every_s", 300.0)
        self.registry = CollectorRegistry()
        self.failures = Counter(
            "tinyfin_save_failures", "Snapshots that failed.", registry=self.registry
        )
        self.cards = CardCheck(card_shaped=options.get("card_shaped_tokens", False))
        self.lock = asyncio.Lock()
        self.journal = None
        self._count = 0
        self._saved = 1
        self._failed = False
        """Whether the state differs from what is on the disk."""
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._taking = set[asyncio.Task[object]]()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"{folder}: cannot be made: {error.strerror}; choose another folder"
                ) from error
            self.journal = Journal(folder, program_id, sync=options.get("sync", False))
            self._restore(self.journal, folder / self.snapshot_name)

    @abstractmethod
    def operations(self) -> Sequence[Operation]:
        """Its paths."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What every answer says of the service."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """What it holds, for /health."""

    @abstractmethod
    def restore(self, path: Path) -> int:
        """Take a snapshot; the number of the first event that it may lack."""

    @abstractmethod
    def repeat(self, number: int, payload: bytes) -> None:
        """Do an event of the journal. Raises ValueError for what is none."""

    @abstractmethod
    async def snapshot(self, path: Path, journal: Journal) -> int:
        """Write a snapshot; the number of the first event that it may lack."""

    def health(self) -> dict[str, object]:
        """For /health."""
        return {
            "status": "failed" if self._failed else "ok",
            **self.facts(),
            "events": self.next - 1,
            "kept": self.folder is not None,
        }

    @property
    def next(self) -> int:
        """Number of the next event."""
        return self._count + 1 if self.journal is None else self.journal.next

    def _restore(self, journal: Journal, snapshot: Path) -> None:
        self._saved = self.restore(snapshot) if snapshot.exists() else 1
        with stage("repeating the journal", None, "events") as running:
            for number, payload in journal.replay(self._saved):
                running.step(1)
                try:
                    self.repeat(number, payload)
                except (ValueError, TinyfinError) as error:
                    raise InputError(
                        f"{snapshot.parent}: event {number} of the journal cannot be done again "
                        f"({error}); restore an older copy of the folder"
                    ) from error

    async def take(
        self, payloads: Sequence[bytes], apply: Callable[[int], T], require: Callable[[], None]
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
        if self.folder is None or self.journal is None or self._failed or self.next == self._saved:
            return
        first = await self.snapshot(self.folder / self.snapshot_name, self.journal)
        self.journal.drop_before(first)
        self._saved = first

    async def start(self) -> None:
        """Save now and then."""
        self._task = asyncio.create_task(self._regularly())

    async def stop(self) -> None:
        """Save, and write no more."""
        self._ending.set()
        if self._task is not None:
            await self._task  # a snapshot that is under way is waited for
        await self._try_to_save()
        async with self.lock:
            if self.journal is not None:
                self.journal.close()

    async def _regularly(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.save_every_s):
                    await self._ending.wait()
                return
            await self._try_to_save()

    async def _try_to_save(self) -> None:
        """A snapshot that fails, however, loses nothing: the journal goes on."""
        try:
            await self.save()
        except Exception as error:
            self.failures.inc()
            said = error if isinstance(error, (OSError, TinyfinError)) else repr(error)
            print(f"error: no snapshot: {said}", file=sys.stderr, flush=True)
