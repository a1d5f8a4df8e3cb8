# SPDX-License-Identifier: Apache-2.0
"""Reports of terminals that do not exist, by the C that makes those of terminals that do."""

from __future__ import annotations

import struct
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tinyfin.errors import ToolError
from tinyfin.field.keys import terminal_keys
from tinyfin.field.report import COUNTERS
from tinyfin.hil.links.host_process import build_host_reports

__all__ = ["Reading", "reports"]

_HEAD = struct.Struct("<8s32sIIIBBHBB4s4sH")
_SIZE, _SIZES = struct.Struct("<H"), struct.Struct("<HH")
_ENDINGS = {1: "the pack does not open", 2: "an image of a monitor or a probation is refused"}


@dataclass(frozen=True)
class Reading:
    """A terminal at one moment."""

    terminal: bytes
    """Id of 8 bytes."""
    boot_nonce: int
    number: int
    """Of the report in this boot."""
    t_s: int
    """The engine's clock."""
    counters: tuple[int, ...]
    """In the order of :data:`tinyfin.field.report.COUNTERS`."""
    cause: int = 0
    """Of the last restart: 0 power, 1 fault, 2 other."""
    notice_page: int = 0
    running: int = 0
    """:class:`tinyfin.wire.slot_frames.Place` of the pack that runs."""
    places: int = 0
    """Of the journal: docs/formats/journal.md, and so the next three."""
    reason: int = 0
    active_tag: bytes = bytes(4)
    other_tag: bytes = bytes(4)
    monitor: bytes = b""
    """Image of the terminal's monitor, as :meth:`tinyfin.twin.Twin.monitor` gives it."""
    probation: bytes = b""
    """Image of its probation, as :meth:`tinyfin.twin.probation.Probation.image` gives it."""

    def row(self, report_key: bytes) -> bytes:
        """As ``firmware/ports/host/reports.c`` reads it."""
        head = (self.terminal, report_key, self.boot_nonce, self.number, self.t_s, self.cause)
        images = self.monitor + self.probation
        slots = (self.running, self.notice_page, self.places, self.reason)
        data = _HEAD.pack(*head, *slots, self.active_tag, self.other_tag, 0)
        data += struct.pack(f"<{len(COUNTERS)}I", *self.counters)
        return data + _SIZES.pack(len(self.monitor), len(self.probation)) + images


def reports(pack: Path, fleet: bytes, readings: Iterable[Reading]) -> Iterator[bytes]:
    """The report of each reading, by terminals that run ``pack`` and were provisioned with this
    fleet key. Raises ToolError when it cannot be compiled, or refuses the pack or a monitor."""
    with subprocess.Popen(
        [str(build_host_reports()), str(pack)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as maker:
        assert maker.stdin is not None
        assert maker.stdout is not None
        feeder = threading.Thread(target=_feed, args=(maker, fleet, readings), daemon=True)
        feeder.start()
        while size := maker.stdout.read(_SIZE.size):
            yield maker.stdout.read(_SIZE.unpack(size)[0])
        feeder.join()
    if maker.returncode:
        why = _ENDINGS.get(maker.returncode, f"it ended with {maker.returncode}")
        raise ToolError(f"{pack}: reports cannot be made: {why}")


def _feed(maker: subprocess.Popen[bytes], fleet: bytes, readings: Iterable[Reading]) -> None:
    assert maker.stdin is not None
    try:
        for reading in readings:
            maker.stdin.write(reading.row(terminal_keys(fleet, reading.terminal).report))
        maker.stdin.close()
    except BrokenPipeError:
        pass  # it has refused the pack, and says so
