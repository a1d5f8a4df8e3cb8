# SPDX-License-Identifier: Apache-2.0
"""An audit log as docs/formats/audit.md describes it, for tests: written without the firmware."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

ERASED = b"\xff" * 32


def mac_of(key: bytes, message: bytes) -> bytes:
    return hashlib.blake2b(key + bytes(96) + message, digest_size=32).digest()[:8]


@dataclass
class Writer:
    """A terminal's ring; units are left when they are full."""

    key: bytes
    unit_places: int = 8
    units: int = 3
    step: int = 0
    sequence: int = 0
    mac: bytes = bytes(8)
    ring: list[list[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ring = [[ERASED] * self.unit_places for _ in range(self.units)]
        self.next = 0
        self.unit(kind=3)

    def record(
        self, kind: int = 1, detail: int = 2, value: int = 0, tail: bytes = bytes(8)
    ) -> None:
        if self.next == self.unit_places:
            self.step += 1
            self.key = hashlib.blake2b(self.key, digest_size=32).digest()
            self.ring[self.step % self.units] = [ERASED] * self.unit_places
            self.next = 0
            self.unit(kind=2)
        self.sequence += 1
        body = struct.pack("<IIBBHI", self.sequence, 1000 * self.sequence, kind, detail, 5, value)
        self.mac = mac_of(self.key, self.mac + body + tail)
        self.ring[self.step % self.units][self.next] = body + tail + self.mac
        self.next += 1

    def unit(self, kind: int, lost: int = 0) -> None:
        self.record(kind, lost, self.step, self.mac)

    @property
    def data(self) -> bytes:
        return b"".join(b"".join(unit) for unit in self.ring)

    def file(self, terminal: bytes) -> bytes:
        places = self.units * self.unit_places
        head = struct.pack("<4sHHI8s12x", b"TFAU", 1, self.unit_places, places, terminal)
        return head + self.data
