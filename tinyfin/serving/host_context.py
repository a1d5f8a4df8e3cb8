# SPDX-License-Identifier: Apache-2.0
"""The host's fields of cards, kept while events come in.

The offline way is ``tinyfin host-fields``: both run the same program in the same engine, one state
per card, so the same events in the same order give the same fields.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import RESULTS
from tinyfin.errors import InputError
from tinyfin.progress import stage
from tinyfin.schema import PAYMENT
from tinyfin.serving import state_files
from tinyfin.training.card_odds import CardOdds
from tinyfin.training.host_fields import card_program, host_specs, host_values
from tinyfin.twin import error_name
from tinyfin.twin._native import NativeCards, card_shards

__all__ = ["Events", "HostContext", "Notice", "Outcome", "Request", "shard_of"]

MAX_CARDS = 2**31
MAX_SHARDS = 2**16 - 1
_AMOUNT = PAYMENT.index("amount_minor")
_MAGIC = b"TFHC"
_HEAD = struct.Struct("<4sHH16sHHIQ24s")
_CARDS = 1 << 12
"""Cards of a snapshot that are read or written at a time."""
_ADVICE = "restore an older snapshot, or start without one"
_Kind = TypeVar("_Kind", bound=np.integer)


@dataclass(frozen=True)
class Request:
    """A transaction is asked for. Times are in seconds since 2000-01-01; ``id`` has 64 bits and is
    the card's alone, like that of its outcome and its notice."""

    token: int
    id: int
    t_s: int
    amount_minor: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a request: ``result`` is one of RESULTS, ``response`` is DE39 or -1."""

    token: int
    id: int
    t_s: int
    result: str = "approved"
    response: int = -1


@dataclass(frozen=True)
class Notice:
    """What became known at ``t_s`` of a transaction at ``t_tx_s``: fraud, or genuine."""

    token: int
    id: int
    t_s: int
    t_tx_s: int
    fraud: bool


class Events(NamedTuple):
    """m events in the order in which they happen, as columns."""

    kind: npt.NDArray[np.uint8]
    """0 request, 1 outcome, 2 notice."""
    token: npt.NDArray[np.uint64]
    id: npt.NDArray[np.uint64]
    t_s: npt.NDArray[np.uint32]
    about: npt.NDArray[np.int64]
    """Of a request the amount, of an outcome the index into RESULTS, of a notice when the
    transaction was."""
    code: npt.NDArray[np.int16]
    """Of an outcome the response, of a notice 1 for fraud."""

    @classmethod
    def of(cls, events: Sequence[Request | Outcome | Notice]) -> Events:
        """Columns of single events. Raises InputError for a number that does not fit, by name."""
        kind, about, code = list[int](), list[int](), list[int]()
        for event in events:
            if isinstance(event, Request):
                facts = 0, event.amount_minor, 0
            elif isinstance(event, Notice):
                facts = 2, event.t_tx_s, int(event.fraud)
            elif event.result in RESULTS:
                facts = 1, RESULTS.index(event.result), event.response
            else:
                raise InputError(f"result {event.result!r}: is one of {', '.join(RESULTS)}")
            for column, value in zip((kind, about, code), facts, strict=True):
                column.append(value)
        return cls(
            np.array(kind, np.uint8),
            _column("token", [event.token for event in events], np.uint64),
            _column("id", [event.id for event in events], np.uint64),
            _column("t_s", [event.t_s for event in events], np.uint32),
            _column("amount_minor or t_tx_s", about, np.int64),
            _column("response", code, np.int16),
        )


class HostContext:
    """What an authorisation host knows of up to ``cards`` cards.

    A card takes ``card_bytes`` bytes, and 5 to 10 more in the table by which it is found, however
    much happens to it. When a new card finds no space, the one without an event for the longest is
    forgotten, and counted in ``evicted``. With ``shards`` this context holds the cards of one of
    them; :func:`shard_of` says of which, the same in every release. Calls from several threads wait
    for each other and release the GIL. Nothing takes a card number: a token is a keyed 64-bit hash.
    """

    def __init__(
        self,
        cards: int = 1_000_000,
        *,
        shard: int = 0,
        shards: int = 1,
        odds: CardOdds | None = None,
    ) -> None:
        if not 1 <= cards <= MAX_CARDS:
            raise InputError(f"cards = {cards}: a context holds 1 to {MAX_CARDS} of them")
        if not (1 <= shards <= MAX_SHARDS and 0 <= shard < shards):
            raise InputError(
                f"shard {shard} of {shards}: shards are 1 to {MAX_SHARDS}, numbered from 0"
            )
        self.cards, self.shard, self.shards = cards, shard, shards
        self.specs = host_specs(odds)
        """The fields that :meth:`fields` gives."""
        self._schema, self._program = card_program(PAYMENT, odds)
        self.program_id = hashlib.blake2b(self._schema + self._program, digest_size=16).digest()
        """Of what fields are computed with; a snapshot has it."""
        self._lock = threading.RLock()
        self._states = self._empty()
        self.next = 1
        """Number of the next event."""

    def _empty(self) -> NativeCards:
        return NativeCards(self._schema, self._program, _AMOUNT, self.cards)

    def __len__(self) -> int:
        return self._states.count

    @property
    def card_bytes(self) -> int:
        """Memory of one card."""
        return self._states.card_bytes

    @property
    def evicted(self) -> int:
        """Cards that were forgotten for others since the context was made or restored."""
        return self._states.evicted

    def counters(self) -> dict[str, int]:
        """``tfin_stats`` summed over all events, since the context was made or restored."""
        return dict(self._states.counters())

    def update(self, event: Request | Outcome | Notice) -> int:
        """Take one event. Returns the engine's error code, 0 when all is well: an outcome without
        a request that waits for it changes nothing. Raises InputError as :meth:`update_all`."""
        return int(self.update_all(Events.of([event]))[0])

    def update_all(self, events: Events, number: int | None = None) -> npt.NDArray[np.int32]:
        """Take events in their order. Returns the engine's error code of each, int32[m].

        ``number`` says which ones they are, for whoever repeats those behind a snapshot: what a
        card's state holds already changes nothing. Raises InputError for token 0, which means no
        card, and for a card of another shard; nothing has changed then.
        """
        if len({len(column) for column in events}) > 1:
            raise InputError("the columns of Events differ in length; give one value per event")
        if not events.token.all():
            where = int(np.flatnonzero(events.token == 0)[0])
            raise InputError(f"event {where}: token 0 means no card; leave such events out")
        self.require_own(events.token)
        error = np.zeros(len(events.token), np.int32)
        columns = [np.ascontiguousarray(column) for column in events]
        with self._lock:
            first = self.next if number is None else number
            self._states.apply(first, *columns, error)
            self.next = max(self.next, first + len(error))
        return error

    def fields(self, token: int, t_s: int) -> dict[str, int | None]:
        """The host's fields for a transaction of the card at that time, by name; None where the
        host knows nothing. Changes nothing, and a card that was never seen takes no space."""
        tokens = _column("token", [token], np.uint64)
        values = self.look_up(tokens, _column("t_s", [t_s], np.uint32))[0].tolist()
        return {
            spec.name: None if value == spec.missing else value
            for spec, value in zip(self.specs, values, strict=True)
        }

    def look_up(
        self, tokens: npt.NDArray[np.uint64], t_s: npt.NDArray[np.uint32]
    ) -> npt.NDArray[np.int64]:
        """:meth:`fields` of n cards: int64[n, 6] in the order of ``specs``, int64[n, 8] with odds;
        each field's number for missing where the host knows nothing."""
        if tokens.shape != t_s.shape or tokens.ndim != 1:
            raise InputError(f"tokens {tokens.shape} and times {t_s.shape}: give one time per card")
        has_card = tokens != 0
        self.require_own(tokens[has_card])
        features = np.zeros((len(tokens), self._states.feature_count), np.int16)
        with self._lock:
            self._states.look_up(
                np.ascontiguousarray(tokens, np.uint64),
                np.ascontiguousarray(t_s, np.uint32),
                features,
            )
        values = host_values(features)
        values[~has_card] = [spec.missing for spec in self.specs]
        return values

    def forget(self, token: int) -> bool:
        """Forget a card. Returns whether there was one. Older snapshots still hold it."""
        with self._lock:
            return bool(self._states.forget(int(_column("token", [token], np.uint64)[0])))

    def snapshot(self, path: str | Path) -> None:
        """Write all cards to a file, at once and whole (docs/formats/host_snapshot.md); updates and
        look-ups wait. Raises InputError."""
        with self._lock:
            for _ in self.snapshot_in_steps(path, lambda: None):
                pass

    def snapshot_in_steps(
        self, path: str | Path, sync_journal: Callable[[], None]
    ) -> Iterator[None]:
        """The same, with updates between the steps: whoever restores it repeats the events that
        came after this call, by their numbers. ``sync_journal`` is called before the file takes its
        name: it brings to the disk the events that the states hold."""
        states = self._states
        facts = self.program_id, self.shard, self.shards, states.image_bytes, self.next, bytes(24)

        def pieces() -> Iterator[bytes]:
            yield _HEAD.pack(_MAGIC, state_files.FORMAT, _HEAD.size, *facts)
            for first in range(0, states.slots, _CARDS):
                with self._lock:
                    piece = states.export_cards(first, first + _CARDS)
                yield piece

        return state_files.writing(path, pieces(), sync_journal)

    def restore(self, path: str | Path) -> int:
        """Put the cards of a snapshot in the place of those here; returns the number of the first
        event that they may lack.

        Raises InputError for a file that is damaged, of a newer format, of another program or
        another shard, or has more cards; nothing has changed then.
        """
        states = self._empty()
        with state_files.reading(path, _ADVICE) as file:
            program_id, shard, shards, image_bytes, sequence, zero = file.facts(
                _HEAD, _MAGIC, "snapshot of cards"
            )
            if program_id != self.program_id or image_bytes != states.image_bytes:
                raise InputError(
                    f"{path}: holds states of the program {program_id.hex()}, and this context "
                    f"has {self.program_id.hex()}; start without it, or with the tinyfin and the "
                    "odds that wrote it"
                )
            if (shard, shards) != (self.shard, self.shards):
                raise InputError(
                    f"{path}: holds shard {shard} of {shards}, and this is shard {self.shard} of "
                    f"{self.shards}; restore it there"
                )
            cards, rest = divmod(file.left, image_bytes)
            if rest or any(zero):
                raise file.damaged("its size or its header breaks a rule")
            if cards > self.cards:
                raise InputError(
                    f"{path}: holds {cards} cards, and there is space for {self.cards}; make the "
                    "context larger"
                )
            with stage(f"restoring {path}", cards, "cards") as running:
                for at in range(0, cards, _CARDS):
                    count = min(cards - at, _CARDS)
                    if rc := states.import_cards(file.take(count * image_bytes)):
                        raise file.damaged(error_name(rc))
                    running.step(count)
            file.end()
        states.in_order()
        with self._lock:
            self._states, self.next = states, int(sequence)
        return int(sequence)

    def require_own(self, tokens: npt.NDArray[np.uint64]) -> None:
        """InputError for a card of another shard."""
        if self.shards == 1:
            return
        found = shard_of(tokens, self.shards)
        other = np.flatnonzero(found != self.shard)
        if len(other):
            raise InputError(
                f"card {other[0]} of {len(tokens)} belongs to shard {found[other[0]]} of "
                f"{self.shards}, and this is shard {self.shard}; send it there"
            )


def shard_of(tokens: npt.NDArray[np.uint64], shards: int) -> npt.NDArray[np.uint32]:
    """Which of ``shards`` shards each card belongs to, uint32[n]; the same in every release."""
    found = np.zeros(len(tokens), np.uint32)
    card_shards(np.ascontiguousarray(tokens, np.uint64), shards, found)
    return found


def _column(name: str, values: Sequence[int], kind: type[_Kind]) -> npt.NDArray[_Kind]:
    try:
        return np.array(values, kind)
    except (OverflowError, ValueError, TypeError):
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        raise InputError(f"{name}: is a whole number, {low}..{high}") from None
