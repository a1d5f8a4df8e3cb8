# SPDX-License-Identifier: Apache-2.0
"""The terminals of a pack: their states, by name, and the file that holds them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tinyfin.errors import InputError, TinyfinError
from tinyfin.progress import stage
from tinyfin.serving import state_files
from tinyfin.serving.terminal_events import Score, TerminalEvent, TerminalOutcome
from tinyfin.twin import Twin, Verdict

__all__ = ["Terminals"]

_MAGIC = b"TFTS"
_HEAD = struct.Struct("<4sHH16sQII")
_ONE = struct.Struct("<QH")


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

    def has_space(self, names: Iterable[str]) -> bool:
        """Whether all of these may have a state."""
        new = {name for name in names if name not in self._index}
        return len(self._index) + len(new) <= self.limit

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
        if isinstance(event, TerminalOutcome):
            return self._twin.outcome(at, *event[1:])
        return self._twin.notice(
            at, event.id, event.token, event.t_s, event.t_tx_s, int(event.fraud)
        )

    def write(self, path: Path, sequence: int, sync_journal: Callable[[], None]) -> Iterator[None]:
        """Write the states of all terminals that are there now, in steps, as
        :func:`state_files.writing`. ``sequence``: of the first event that a terminal may lack."""

        def pieces() -> Iterator[bytes]:
            yield _HEAD.pack(_MAGIC, state_files.FORMAT, _HEAD.size, *facts)
            for at, name in enumerate(names):
                text = name.encode()
                yield _ONE.pack(self._applied[at], len(text)) + text + self._twin.export_state(at)

        names = list(self._index)
        facts = self._program_id, sequence, self._twin.state_size, len(names)
        return state_files.writing(path, pieces(), sync_journal)

    def read(self, path: Path) -> int:
        """Take the states of a file; returns its sequence.

        Raises InputError when it is damaged, newer, of another program, or has too many terminals.
        """
        with state_files.reading(path, state_files.START_OVER) as file:
            program_id, sequence, state_size, count = file.facts(
                _HEAD, _MAGIC, "snapshot of terminals"
            )
            if program_id != self._program_id or state_size != self._twin.state_size:
                raise InputError(
                    f"{path}: holds states of the feature program {program_id.hex()}, and this "
                    f"pack has {self._program_id.hex()}; give another --state to begin cold, or "
                    "the pack before"
                )
            if count > self.limit:
                raise InputError(
                    f"{path}: holds {count} terminals, the limit is {self.limit}; raise --terminals"
                )
            with stage(f"restoring {path}", count, "terminals") as running:
                for at in range(count):
                    applied, length = _ONE.unpack(file.take(_ONE.size))
                    name = file.take(length).decode(errors="replace")
                    try:
                        self._twin.import_state(at, file.take(state_size))
                    except TinyfinError as error:
                        raise file.damaged(f"terminal {at + 1}: {error}") from error
                    self._index[name] = at
                    self._applied.append(applied)
                    running.step()
            if len(self._index) != count:
                raise file.damaged("it has a terminal twice")
            file.end()
        return int(sequence)
