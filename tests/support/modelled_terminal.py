# SPDX-License-Identifier: Apache-2.0
"""A client whose terminal is a model: what the host makes of its answers, without a line."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

from tests.support import field_oracle as oracle
from tinyfin.wire.channel import TargetRebooted
from tinyfin.wire.messages import Capability, Request

REASONS = {oracle.CONFIRM: 6, oracle.REVERT: 3, oracle.ABORT: 2}


class Modelled:
    """A client of a modelled terminal; the first answers to some requests are lost, so that they
    are asked again."""

    def __init__(self, terminal: oracle.Terminal, *lost: Request) -> None:
        self.terminal, self.lost = terminal, list(lost)
        self.asked: list[Request] = []
        self.link = SimpleNamespace(name="modelled")
        self.hello = SimpleNamespace(
            capabilities=Capability.INSTALL | Capability.COMMAND,
            boot_nonce=terminal.boot_nonce,
            pack_id=terminal.other.hex(),
        )
        self.deadline_s = 1.0

    def request(self, request: Request, answer: int, payload: bytes = b"", **_: Any) -> bytes:
        if request in self.lost:
            self.lost.remove(request)
            self.answer(request, payload)
            if self.hello.boot_nonce != self.terminal.boot_nonce:
                raise TargetRebooted("it restarted")
        return self.answer(request, payload)

    def answer(self, request: Request, payload: bytes) -> bytes:
        self.asked.append(request)
        if request == Request.CHALLENGE_REQUEST:
            return self.terminal.challenge()
        if request == Request.SLOT_INFO_REQUEST:
            return self.slots()
        take = {
            Request.COMMAND: self.terminal.take_command,
            Request.KEYS: self.terminal.take_keys,
            Request.PROVISION: self.terminal.take_provision,
            Request.NOTICES: self.terminal.take_notices,
        }
        return bytes([take[request](payload), 0, self.terminal.phase, 0])

    def slots(self) -> bytes:
        t = self.terminal
        last, confirmed, _ = t.obeyed[-1] if t.obeyed else (0, bytes(5), 0)
        active = confirmed if last == oracle.CONFIRM else bytes(5)
        other = bytes(5) if last == oracle.CONFIRM else t.other
        places = 2 | (0 if t.phase else 3) << 2 | t.phase << 4
        head = struct.pack("<BBBBHIII", 1, 2, 2, 4, 1, 4096, 65536, t.running_counter)
        reason = REASONS.get(last, 0)
        record = struct.pack(
            "<BBBBIIIHH", 2, places, 0, reason, t.sequence, t.floor, t.commands, t.day, t.notices
        )
        return head + record + active[:4] + other[:4] + bytes(4)

    def restarts(self) -> None:
        self.hello.boot_nonce = 0

    def connect(self) -> None:
        self.hello.boot_nonce = self.terminal.boot_nonce
