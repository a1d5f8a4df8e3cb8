# SPDX-License-Identifier: Apache-2.0
"""What a terminal keeps of a pack's probation: docs/formats/probation.md."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from tinyfin.errors import InputError
from tinyfin.formats import PROBATION_PHASES, PROBATION_RESULTS

__all__ = ["BODY_BYTES", "ProbationState", "parse_body", "parse_image"]

_HEADER = struct.Struct("<4sHHII")
_BODY = struct.Struct("<8s16HIHHHHBBH")
BODY_BYTES = _BODY.size
_MAGIC, _VERSION = b"TFPB", 1


@dataclass(frozen=True)
class ProbationState:
    """The counts of one probation."""

    pack: bytes
    """How the id of the pack in probation begins, 8 bytes."""
    table: tuple[tuple[int, ...], ...]
    """[4][4]: row by the bin of the parent's score, column by that of the pack in probation."""
    digest: int
    """CRC-32 over raw score, probability and action of its verdicts in shadow."""
    events: int
    parent_alerts: int
    alerts: int
    saturated: int
    phase: str
    """One of :data:`tinyfin.formats.PROBATION_PHASES`."""
    result: str
    """One of :data:`tinyfin.formats.PROBATION_RESULTS`."""
    looks: int
    """That were passed."""

    @property
    def words(self) -> str:
        """For people."""
        apart = sum(self.table[i][k] for i in range(4) for k in range(4) if i != k)
        said = f"{self.phase}: {self.result}, {self.events} events, {self.alerts} alerts"
        if self.phase == "shadow":
            said += f" (the pack that runs: {self.parent_alerts}), {apart} in other bins"
        return said


def parse_body(body: bytes) -> ProbationState:
    """The counts of ``body``, as reports have them. Raises InputError."""
    if len(body) < BODY_BYTES:
        raise InputError(
            f"probation: {len(body)} bytes in place of {BODY_BYTES}; update tinyfin or the firmware"
        )
    pack, *numbers = _BODY.unpack_from(body)
    table = tuple(tuple(numbers[4 * row : 4 * row + 4]) for row in range(4))
    digest, events, parents, alerts, saturated, phase, result, looks = numbers[16:]
    if phase >= len(PROBATION_PHASES) or result >= len(PROBATION_RESULTS):
        raise InputError(
            f"probation: phase {phase} or result {result} is not known; update tinyfin"
        )
    return ProbationState(
        pack,
        table,
        digest,
        events,
        parents,
        alerts,
        saturated,
        PROBATION_PHASES[phase],
        PROBATION_RESULTS[result],
        looks,
    )


def parse_image(image: bytes) -> ProbationState | None:
    """The counts of a terminal's image, or None when it is empty: no pack is in probation. Raises
    InputError."""
    if not image:
        return None
    if len(image) != _HEADER.size + BODY_BYTES:
        raise InputError(f"probation: an image of {len(image)} bytes; update tinyfin")
    magic, version, size, crc, zero = _HEADER.unpack_from(image)
    body = image[_HEADER.size :]
    if (magic, version, size, zero) != (_MAGIC, _VERSION, len(image), 0):
        raise InputError("probation: its image is of an unknown version; update tinyfin")
    if crc != zlib.crc32(body):
        raise InputError("probation: its image is damaged: the checksum differs; read it again")
    return parse_body(body)
