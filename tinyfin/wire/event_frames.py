# SPDX-License-Identifier: Apache-2.0
"""Packs events into EVENTS payloads.

A frame is complete: everything in it is coded against earlier events of the same frame, so a
frame can be sent again at any time. See ``docs/formats/wire.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tinyfin.errors import PackError
from tinyfin.formats import FIELD_ENTRY, FIELD_TYPES, SCHEMA_HEAD, sections_of
from tinyfin.wire.messages import put_signed, put_varint

__all__ = ["EventsFrame", "Outcome", "changed_fields", "field_types", "plain_fields"]

_U64 = FIELD_TYPES.index("u64")

_SCORE, _SCORE_OUTCOME, _OUTCOME, _NOTICE = range(4)
_PLAIN, _CHECKPOINT = 2, 4  # flags of a frame
_SAME_PRESENT, _ALL_SENT, _SAME_OFFSET, _SAME_SENT = 0x04, 0x08, 0x10, 0x80
_FRAUD, _TOKEN, _SAME_AGE = 0x04, 0x08, 0x10
_CLOCK = 0x82
_ID_NEXT, _ID_DELTA, _ID_WHOLE, _ID_SAME = 0x00, 0x20, 0x40, 0x60
_U32 = 0xFFFFFFFF
_I32 = 1 << 31
_U64_MASK = 0xFFFFFFFFFFFFFFFF
_NEAR_ID = 1 << 48  # a delta below this is shorter as a varint than the 8 bytes of the id


def field_types(pack: bytes) -> tuple[int, ...]:
    """Type code of each field of a pack's schema (0 i32, 1 i64, 2 u64, 3 enum), from SCHM."""
    schema = sections_of(pack).get("SCHM")
    if schema is None:
        raise PackError("the pack has no section SCHM; make it again with `tinyfin quantize`")
    (count, *_), entries = SCHEMA_HEAD.unpack_from(schema), schema[SCHEMA_HEAD.size :]
    return tuple(entries[FIELD_ENTRY.size * i] for i in range(count))


def plain_fields(
    types: Sequence[int], values: npt.NDArray[np.int64], present: npt.NDArray[np.uint32]
) -> int:
    """Mask of the fields that are shorter as two plain bytes than as differences.

    ``values`` [events, fields] and ``present`` [events] of events in their order.
    """
    mask = 0
    for i, kind in enumerate(types):
        own = values[(present >> i & 1).astype(bool), i]
        if kind == _U64 or len(own) < 2 or own.min() < 0 or own.max() > 0xFFFF:
            continue
        steps = np.abs(np.diff(own))
        steps = 2 * steps[steps > 0]
        sizes = 1 + (steps >= 1 << 7) + (steps >= 1 << 14)
        mask |= (len(sizes) > 0 and float(sizes.mean()) > 2.0) << i
    return mask


def changed_fields(
    values: npt.NDArray[np.int64], present: npt.NDArray[np.uint32]
) -> list[tuple[int, list[int]]]:
    """Per event, mask and places of the present fields that differ from where they were last.

    ``values`` [events, fields] and ``present`` [events] of events in their order.
    """
    count, fields = values.shape
    places = np.arange(fields, dtype=np.uint32)
    there = (present[:, None] >> places & 1).astype(bool)
    # row of the last event up to here that has the field; 0 when there was none
    since = np.maximum.accumulate(np.where(there, np.arange(count)[:, None], 0), axis=0)
    filled = np.take_along_axis(values, since, axis=0)
    differs = there.copy()
    differs[1:] &= filled[1:] != filled[:-1]
    masks = (differs.astype(np.uint32) << places).sum(axis=1).tolist()
    rows, columns = np.nonzero(differs)
    edges = np.searchsorted(rows, np.arange(count + 1)).tolist()
    where = columns.tolist()
    return [(mask, where[edges[i] : edges[i + 1]]) for i, mask in enumerate(masks)]


@dataclass(frozen=True)
class Outcome:
    """What became of a transaction. ``response`` is -1 when there is none."""

    t_mono_s: int
    result: int
    action_taken: int
    response: int = -1


@dataclass
class EventsFrame:
    """One frame under construction. An event is added whole or, when the frame is full, not."""

    types: Sequence[int]
    room: int
    """Payload bytes that the frame may have."""
    max_events: int
    max_scores: int
    t0_s: int
    ticks: bool = False
    plain: int = 0
    """Mask of fields whose values, all from 0 to 65,535, are sent as two bytes each."""
    checkpoint: bool = False
    """Ask for the digest of the state after the frame, and how many events were scored."""
    count: int = 0
    scores: int = 0
    _out: bytearray = field(default_factory=bytearray)
    _values: list[int] = field(default_factory=list)
    _before: list[int] = field(default_factory=list)
    _id: int = 0
    _notice_id: int = 0
    _code: int = 0
    _t_s: int = 0
    _offset_s: int = 0
    _age_s: int = 0
    _present: int = 0
    _seen: int = 0
    """Fields that were present in this frame."""
    _sent: int = 0

    def __post_init__(self) -> None:
        self._values = [0] * len(self.types)
        self._before = [0] * len(self.types)
        self._t_s = self.t0_s
        if self.plain:
            put_varint(self._out, self.plain)

    def payload(self) -> bytes:
        """The finished payload."""
        flags = int(self.ticks) | (_PLAIN if self.plain else 0)
        flags |= _CHECKPOINT if self.checkpoint else 0
        return struct.pack("<BBI", flags, self.count, self.t0_s) + self._out

    def score(
        self,
        event_id: int,
        t_mono_s: int,
        t_local_s: int,
        values: Sequence[int],
        present: int,
        outcome: Outcome | None = None,
        changed: tuple[int, Sequence[int]] | None = None,
    ) -> bool:
        """Add an event to score, with its outcome when that follows at once; False when full.

        ``values`` are signed 64-bit (a u64 as its bit pattern); only present fields are looked at.
        ``changed``, when it is known: mask and places of the present fields that differ from where
        they were present last, in whichever frame.
        """
        if self.count == self.max_events or self.scores == self.max_scores:
            return False
        out = bytearray(1)
        head = _SCORE if outcome is None else _SCORE_OUTCOME
        head |= _put_id(out, event_id, self._id)
        self._id = event_id
        self._put_time(out, t_mono_s)
        offset = (t_local_s - t_mono_s) & _U32
        if offset == self._offset_s:
            head |= _SAME_OFFSET
        else:
            put_signed(out, _i32(offset - self._offset_s))
            self._offset_s = offset
        present &= (1 << len(self.types)) - 1
        last = self._values
        if changed is None or present & ~self._seen:
            sent: Sequence[int] = [
                i for i in range(len(self.types)) if present >> i & 1 and values[i] != last[i]
            ]
            mask = sum(1 << i for i in sent)
        else:
            mask, sent = changed
        self._seen |= present
        if present == self._present:
            head |= _SAME_PRESENT
        else:
            put_varint(out, present ^ self._present)
            self._present = present
        if mask == present:
            head |= _ALL_SENT
        elif mask == self._sent:
            head |= _SAME_SENT
        else:
            put_varint(out, mask ^ self._sent)
        self._sent = mask
        for i in sent:
            value = values[i]
            if self.plain >> i & 1:
                out += value.to_bytes(2, "little")
            elif self.types[i] == _U64:
                out += (value & _U64_MASK).to_bytes(8, "little")
            else:
                again = value == self._before[i]
                put_signed(out, 0 if again else _i64(value - last[i]))
                if -_I32 <= last[i] < _I32:
                    self._before[i] = last[i]
            last[i] = value
        if outcome is not None:
            self._put_outcome(out, outcome)
        out[0] = head
        return self._add(out, 1)

    def outcome(self, event_id: int, outcome: Outcome) -> bool:
        """Add the outcome of an event scored before; False when full."""
        out = bytearray(1)
        out[0] = _OUTCOME | _put_id(out, event_id, self._id)
        self._id = event_id
        self._put_outcome(out, outcome)
        return self._add(out, 0)

    def notice(
        self, event_id: int, token: int, t_mono_s: int, t_tx_mono_s: int, fraud: bool
    ) -> bool:
        """Add what became known of a past transaction; False when full."""
        out = bytearray(1)
        head = _NOTICE | _put_id(out, event_id, self._notice_id) | (_FRAUD if fraud else 0)
        self._notice_id = event_id
        self._put_time(out, t_mono_s)
        if token:
            head |= _TOKEN
            out += (token & _U64_MASK).to_bytes(8, "little")
        age = (t_mono_s - t_tx_mono_s) & _U32
        if age == self._age_s:
            head |= _SAME_AGE
        else:
            put_signed(out, _i32(age - self._age_s))
            self._age_s = age
        out[0] = head
        return self._add(out, 0)

    def clock(self, t_mono_s: int) -> bool:
        """Add that the terminal's clock is to be set; False when full."""
        out = bytearray([_CLOCK])
        self._put_time(out, t_mono_s)
        return self._add(out, 0)

    def _add(self, out: bytearray, scores: int) -> bool:
        # a frame that refused an event is sent as it is, so what this call has changed is not used
        if self.count == self.max_events or len(self._out) + len(out) + 6 > self.room:
            self.max_events = self.count
            return False
        self._out += out
        self.count += 1
        self.scores += scores
        return True

    def _put_time(self, out: bytearray, t_s: int) -> None:
        put_varint(out, (t_s - self._t_s) & _U32)
        self._t_s = t_s

    def _put_outcome(self, out: bytearray, outcome: Outcome) -> None:
        how = 0 if outcome.response == -1 else 1 if outcome.response == 0 else 2
        code = outcome.result | outcome.action_taken << 3 | how << 5
        time = ((outcome.t_mono_s - self._t_s) & _U32) << 1
        self._t_s = outcome.t_mono_s
        put_varint(out, time | (code != self._code))
        if code != self._code:
            out.append(code)
            self._code = code
        if how == 2:
            put_signed(out, outcome.response)


def _put_id(out: bytearray, event_id: int, last: int) -> int:
    delta = (event_id - last) & _U64_MASK
    if delta == 0:
        return _ID_SAME
    if delta == 1:
        return _ID_NEXT
    if delta < _NEAR_ID:
        put_varint(out, delta)
        return _ID_DELTA
    out += (event_id & _U64_MASK).to_bytes(8, "little")
    return _ID_WHOLE


def _i32(value: int) -> int:
    value &= _U32
    return value - (1 << 32) if value >> 31 else value


def _i64(value: int) -> int:
    value &= _U64_MASK
    return value - (1 << 64) if value >> 63 else value
