# SPDX-License-Identifier: Apache-2.0
"""An emulated terminal whose flash is a file that outlives it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tinyfin.formats import PROGRAM_HEADER, ProgramHeader
from tinyfin.hil.links.session import at_link
from tinyfin.pack.container import parse_pack
from tinyfin.targets import catalogue
from tinyfin.targets.emulate import Emulator
from tinyfin.wire.client import Client
from tinyfin.wire.links import TcpLink


@dataclass
class Terminal:
    """An image, and the file that is its flash."""

    image: Path
    kept: Path
    target: str = "cortex-m4"

    @contextlib.contextmanager
    def on(self) -> Iterator[tuple[Client, Emulator]]:
        target = catalogue.get(self.target)
        with Emulator(target, self.image, icount=False, kept=self.kept) as emulator:
            link = TcpLink(*emulator.address, restart=emulator.restart)
            with at_link(link, target.name) as session:
                session.client.connect()
                yield session.client, emulator


def until_ended(emulator: Emulator) -> None:
    deadline = time.monotonic() + 10
    while emulator.wait(0.1) is None and time.monotonic() < deadline:
        pass


def learned(image: bytes, pack: bytes) -> bytes:
    """A state image without its header, clock, counters of scores, and the events that wait."""
    h = ProgramHeader(*PROGRAM_HEADER.unpack_from(parse_pack(pack).sections["PROG"]))
    state = bytearray(image[64:])
    # docs/formats/program.md: last_t_mono, scored, clamps, saturations, unknown, sequence
    for at in (0, 8, 16, 20, 28, 52):
        state[at : at + 4] = bytes(4)
    waiting = h.pending * h.pending_entry_bytes
    state[64 : 64 + waiting] = bytes(waiting)
    return bytes(state)
