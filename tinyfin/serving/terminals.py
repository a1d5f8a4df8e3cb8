# SPDX-License-Identifier: Apache-2.0
"""The terminals of a pack: their states, by name, and the file that holds them."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tinyfin import files
from tinyfin.errors import InputError, TinyfinError
from tinyfin.serving.terminal_events import Outcome, Score, TerminalEvent
from tinyfin.twin import Twin, Verdict

__all__ = ["NAME", "Terminals"]

NAME = "terminals.tfstate"
MAGIC = b"TFTS"
FORMAT = 1
_HEAD = struct.Struct("<4sHH16sQII")
_ONE = struct.Struct("<QH")
_CRC = struct.Struct("<I")


class Terminals:
    """Up to ``limit`` terminals that run one pack; each is made when it is first named."""

    def __init__(
        self, pack: bytes, program_id: bytes, *, limit: int, keys: Sequence[bytes] = ()
    ) -> None:
        self.limit, self._program_id = limit, program_id
        self._twin = Twin(pack, terminals=limit, keys=keys)
        self._index: dict[str, int] = {}
        self._applied: list[int] = []
        """By terminal, the number of its newest event."""

    def __len__(self) -> int:
        return len(self._index)

    @property
    def has_network(self) -> bool:
        """Whether the pack can give a verdict."""
        return self._twin.input_count > 0

    def new_among(self, names: Sequence[str]) -> int:
        """How many of these have no state yet."""
        return len({name for name in names if name not in self._index})

    def apply(self, number: int, event: TerminalEvent) -> Verdict | int:
        """The verdict of a transaction; of an outcome or a notice the engine's error, 0 for none.
        What a snapshot holds already, by its number, changes nothing."""
        at = self._index.setdefault(event.terminal, len(self._index))
        if at == len(self._applied):
            self._applied.append(0)
        if number <= self._applied[at]:
            return 0
        self._applied[at] = number
        if isinstance(event, Score):
            values = np.array(event.values, np.int64)
            return self._twin.score(at, event.id, event.t_s, event.t_local_s, values, event.present)
        if isinstance(event, Outcome):
            return self._twin.outcome(at, *event[1:])
        return self._twin.notice(
            at, event.id, event.token, event.t_s, event.t_tx_s, int(event.fraud)
        )

    def write(self, path: Path, sequence: int, settle: Callable[[], None]) -> Iterator[None]:
        """Write the states of all terminals that are there now, in steps between which events may
        come; whole and on the disk at the end. ``sequence``: of the first event that a terminal may
        lack. ``settle`` is called before the file counts: it brings to the disk the events that the
        states hold. Raises InputError."""
        with files.whole(path, make_folder=True, private=True) as made, made.open("wb") as file:
            names = list(self._index)
            head = _HEAD.pack(
                MAGIC,
                FORMAT,
                _HEAD.size,
                self._program_id,
                sequence,
                self._twin.state_size,
                len(names),
            )
            file.write(head)
            crc = zlib.crc32(head)
            for at, name in enumerate(names):
                text = name.encode()
                piece = _ONE.pack(self._applied[at], len(text)) + text + self._twin.export_state(at)
                file.write(piece)
                crc = zlib.crc32(piece, crc)
                yield
            file.write(_CRC.pack(crc))
            file.flush()
            os.fsync(file.fileno())
            settle()

    def read(self, path: Path) -> int:
        """Take the states of a file; returns its sequence, 1 when there is no file.

        Raises InputError when it is damaged, newer, of another program, or has too many terminals.
        """
        try:
            with path.open("rb") as file:
                return self._read(path, file)
        except FileNotFoundError:
            return 1
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error

    def _read(self, path: Path, file: BinaryIO) -> int:
        other = "restore an older copy of the folder, or start with an empty one"
        crc = 0

        def take(size: int) -> bytes:
            nonlocal crc
            piece = file.read(size)
            if len(piece) != size:
                raise InputError(f"{path}: is cut; {other}")
            crc = zlib.crc32(piece, crc)
            return piece

        head = take(_HEAD.size)
        magic, version, size, program_id, sequence, state_size, count = _HEAD.unpack(head)
        if magic != MAGIC or size != _HEAD.size:
            raise InputError(f"{path}: holds no states of terminals; {other}")
        if version > FORMAT:
            raise InputError(
                f"{path}: has format {version}, and this tinyfin reads up to {FORMAT}; read it "
                "with a newer one"
            )
        if program_id != self._program_id or state_size != self._twin.state_size:
            raise InputError(
                f"{path}: holds states of the feature program {program_id.hex()}, and this pack "
                f"has {self._program_id.hex()}; give another --state to begin cold, or the pack "
                "before"
            )
        if count > self.limit:
            raise InputError(
                f"{path}: holds {count} terminals, the limit is {self.limit}; raise --terminals"
            )
        for at in range(count):
            applied, length = _ONE.unpack(take(_ONE.size))
            name = take(length).decode(errors="replace")
            try:
                self._twin.import_state(at, take(state_size))
            except TinyfinError as error:
                raise InputError(f"{path}: terminal {at + 1}: {error}; {other}") from error
            self._index[name] = at
            self._applied.append(applied)
        total = crc
        if take(_CRC.size) != _CRC.pack(total) or len(self._index) != count or file.read(1):
            raise InputError(f"{path}: is damaged (its checksum differs); {other}")
        return int(sequence)
