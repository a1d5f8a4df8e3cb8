# SPDX-License-Identifier: Apache-2.0
"""Streams of the feature tests as tapes: events, restarts from an image, erasures."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from tests.oracle.streams import Clock, Step
from tinyfin.measure import instrument
from tinyfin.twin import Twin
from tinyfin.wire.event_frames import EventsFrame, Outcome, field_types

_ROOM = 1400
_MOST = 64
_U32 = 0xFFFF_FFFF


class Script:
    """A tape in the making, with the twin that knows the answers."""

    def __init__(self, pack: bytes) -> None:
        self.pack = pack
        self.twin = Twin(pack, restarts=False)
        self.types = field_types(pack)
        self.tape = instrument.Tape().add(instrument.PACK, pack)
        self.scores = 0
        self._digest = 0
        self._wanted: list[int] = []
        self._frame: EventsFrame | None = None
        self._clock = Clock()

    def run(self, steps: Sequence[Step]) -> Script:
        """Append a stream and the state that it leaves."""
        for step in steps:
            match step:
                case ("start", at):
                    self._clock = Clock(at)
                case ("far", far):
                    self._clock.wrong(far)
                case ("leap", leap):
                    self._clock.step(leap)
                case ("rebase", leap):
                    t = self._clock.step(leap)
                    if not self._open(t).clock(t):
                        assert self._fresh(t).clock(t)
                    self.twin.rebase_time(0, t)
                case ("score", leap, id, local, values, present):
                    self._score(self._clock.step(leap), id, local, values, present)
                case ("outcome", leap, id, result, response, action):
                    t = self._clock.step(leap)
                    told = Outcome(t, result, action, response)
                    if not self._open(t).outcome(id, told):
                        assert self._fresh(t).outcome(id, told)
                    self.twin.outcome(0, id, t, result, response, action)
                case ("notice", leap, id, token, back, fraud):
                    t = self._clock.step(leap)
                    at = min(max(t - back, 0), _U32)
                    if not self._open(t).notice(id, token, t, at, bool(fraud)):
                        assert self._fresh(t).notice(id, token, t, at, bool(fraud))
                    self.twin.notice(0, id, token, t, at, fraud)
                case ("erase", token):
                    self._flush()
                    self.tape.add(instrument.ERASE, struct.pack("<Q", token))
                    self.twin.erase_card(0, token)
                case ("reboot",):
                    self._flush()
                    image = self.twin.export_state(0)
                    self.tape.add(instrument.RESTART, image)
                    self.twin = Twin(self.pack, restarts=False)
                    self.twin.import_state(0, image)
        self._flush()
        self.tape.state(self.twin)
        self.twin.reset(0)
        self._digest = 0
        return self

    def _score(self, t: int, id: int, local: int, values: Sequence[int], present: int) -> None:
        patterns = [(value + 2**63) % 2**64 - 2**63 for value in values]
        if not self._open(t).score(id, t, local, patterns, present):
            assert self._fresh(t).score(id, t, local, patterns, present)
        verdict = self.twin.score(0, id, t, local, patterns, present)
        answer = self.twin.features(0).astype("<i2").tobytes() + self.twin.outputs(0).tobytes()
        reasons = (*verdict.reasons, 0, 0, 0)[:3]
        answer += struct.pack(
            "<IiHBB3HH",
            verdict.score_q32,
            verdict.raw,
            verdict.flags,
            verdict.action,
            len(verdict.reasons),
            *reasons,
            0,
        )
        self._digest = zlib.crc32(answer, self._digest)
        self._wanted.append(self._digest)
        self.scores += 1

    def _open(self, t: int) -> EventsFrame:
        return self._frame or self._fresh(t)

    def _fresh(self, t: int) -> EventsFrame:
        self._flush()
        self._frame = EventsFrame(self.types, _ROOM, _MOST, _MOST, t)
        return self._frame

    def _flush(self) -> None:
        if self._frame is not None and self._frame.count:
            self.tape.events(self._frame.payload(), self._wanted)
        self._frame, self._wanted = None, []
