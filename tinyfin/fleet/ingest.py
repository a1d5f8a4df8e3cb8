# SPDX-License-Identifier: Apache-2.0
"""From the inbox into the lake: files are claimed, their reports merged, and then put away.

A file leaves ``claimed`` only after the manifest that holds its reports is on the disk. A run that
is killed leaves it there, and the next one merges it again, which changes nothing that the first
one did.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tinyfin import progress
from tinyfin.errors import InputError
from tinyfin.field.report import MOST_BYTES
from tinyfin.fleet import archives, durable
from tinyfin.fleet.admission import Admission, Refused, Why
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.secrets import ReportKeys
from tinyfin.fleet.tables import REPORT, SCHEMAS

__all__ = ["Ingested", "ingest"]

_CHUNK, _BATCH = 10_000, 250_000
"""Reports of a table in memory, and of a commit."""
_NOWHERE = Path()
"""A file that goes there is removed."""


@dataclass
class Ingested:
    """What a run has done."""

    files: int = 0
    reports: int = 0
    """That were taken, each as often as it came."""
    again: int = 0
    """Of these: the same report came before in this run."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason; see :class:`tinyfin.fleet.admission.Why`."""
    messages: list[str] = field(default_factory=list)
    """Of the first that were refused for a reason."""


def ingest(lake: Lake, keys: ReportKeys, inbox: Path | None = None) -> Ingested:
    """Merge all files of ``inbox`` (of the lake's if None): a report each, or a tar of reports.

    Files whose name begins with a dot are left alone: a writer gives its file the right name when
    it is whole. ``claimed``, ``processed`` and ``rejected`` of the lake hold the files later, so
    ``inbox`` is on its file system. Raises InputError when something else uses the lake.
    """
    inbox = lake.inbox if inbox is None else inbox
    claimed = lake.path / "claimed"
    with lake.locked():
        for place in (lake.inbox, claimed, lake.path / "processed"):
            durable.folder(place)
        if not inbox.is_dir():
            raise InputError(f"{inbox}: is no folder; name the one that reports are put into")
        run = _Run(lake, Admission(lake, keys))
        run.merge(durable.entries(claimed))  # what a killed run has left
        run.merge(_claim(inbox, claimed))
    return run.done


def _claim(inbox: Path, claimed: Path) -> list[Path]:
    """The files of the inbox under names of ours: a writer may put another one in the place of each
    at any time."""
    found = [(path, claimed / path.name) for path in durable.entries(inbox)]
    if found and inbox.stat().st_dev != claimed.stat().st_dev:
        raise InputError(
            f"{inbox}: is on another file system than the lake {claimed.parent}; put the files "
            f"into {claimed.parent / 'inbox'}"
        )
    durable.move(found)
    return [target for _, target in found]


class _Run:
    """The files of one run, whose reports are committed in batches."""

    def __init__(self, lake: Lake, admission: Admission) -> None:
        self.lake, self.admission, self.done = lake, admission, Ingested()
        self._seen: set[bytes] = set()
        self._rows: list[dict[str, object]] = []
        self._tables: list[pa.Table] = []

    def merge(self, paths: list[Path]) -> None:
        """Merge files, and put each away when what is in it is committed."""
        whole: list[tuple[Path, Path]] = []
        with progress.stage("merging reports", len(paths), "files") as stage:
            for path in paths:
                whole.append((path, self._read(path)))
                self.done.files += 1
                stage.step()
                if len(self._tables) * _CHUNK >= _BATCH:
                    self._commit(whole)
                    whole = []
            self._commit(whole)

    def _read(self, path: Path) -> Path:
        """Take the reports of a file; the folder that it belongs into then."""
        refused = self.lake.path / "rejected"
        try:
            if archives.is_archive(path):
                self._archive(path)
            else:
                with path.open("rb") as file:
                    self._take(file.read(MOST_BYTES + 1), path.name)
        except Refused as error:
            self._note(error)
            return _NOWHERE if error.why == Why.ERASED else refused / error.why
        return self.lake.path / "processed"

    def _archive(self, path: Path) -> None:
        """Raises Refused when it ends early; what could be read is taken."""
        for name, data in archives.members(path):
            try:
                self._take(data, f"{path.name}, {name}")
            except Refused as error:
                self._note(error)
                self.admission.keep_aside(error.why, data)

    def _take(self, data: bytes, where: str) -> None:
        """Raises Refused."""
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest in self._seen:
            self.done.again += 1
        else:
            self._rows.append(self.admission.row(data, where))
            self._seen.add(digest)
        self.done.reports += 1
        if len(self._rows) == _CHUNK:
            self._tables.append(pa.Table.from_pylist(self._rows, SCHEMAS[REPORT]))
            self._rows = []
            if len(self._tables) * _CHUNK >= 2 * _BATCH:  # an archive of many: its file waits
                self._store()

    def _note(self, error: Refused) -> None:
        if not self.done.refused[error.why]:
            self.done.messages.append(str(error))
        self.done.refused[error.why] += 1

    def _store(self) -> None:
        last = pa.Table.from_pylist(self._rows, SCHEMAS[REPORT])
        rows = pa.concat_tables([*self._tables, last])
        self._tables, self._rows = [], []
        if len(rows):
            self.lake.merge(REPORT, rows)

    def _commit(self, whole: list[tuple[Path, Path]]) -> None:
        """Store what was read, then put the files away."""
        self._store()
        for _, folder in whole:
            if folder != _NOWHERE:
                durable.folder(folder)
        durable.move((p, _free(folder / p.name)) for p, folder in whole if folder != _NOWHERE)
        durable.remove(path for path, folder in whole if folder == _NOWHERE)


def _free(path: Path) -> Path:
    """This name, or one like it that is not taken."""
    number, found = 2, path
    while found.exists():
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return found
