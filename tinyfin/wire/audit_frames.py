# SPDX-License-Identifier: Apache-2.0
"""Audit log and report over the wire: docs/formats/wire.md."""

from __future__ import annotations

from collections.abc import Callable

from tinyfin.errors import LinkError, ProtocolError, TargetError
from tinyfin.field.audit import RECORD_BYTES, AuditLog
from tinyfin.field.keys import ID_BYTES
from tinyfin.field.report import MOST_BYTES
from tinyfin.wire.client import Client
from tinyfin.wire.messages import Answer, Capability, Reader, Request

__all__ = ["read_audit", "read_report"]

_ATTEMPTS = 5


def _require(client: Client, capability: Capability, what: str) -> None:
    if not client.hello.capabilities & capability:
        raise TargetError(
            f"{client.link.name}: its firmware {what}; build it for a board that does "
            "(docs/field.md)"
        )


def _steady(client: Client, read: Callable[[], bytes], what: str) -> bytes:
    """What reads the same twice: the terminal goes on meanwhile."""
    last = read()
    for _ in range(_ATTEMPTS):
        if last == (last := read()):
            return last
    raise LinkError(f"{client.link.name}: {what} changes while it is read; read it at a quiet time")


def read_audit(
    client: Client, progress: Callable[[int, int], object] = lambda done, of: None
) -> AuditLog:
    """The audit log of a terminal, as its flash holds it.

    progress: is called with records read and records in all. Raises TargetError when its firmware
    keeps none, or the terminal has no identity yet; LinkError when it does not stay the same.
    """
    _require(client, Capability.AUDIT, "keeps no audit log")
    unit_places = 1

    def ring() -> bytes:
        nonlocal unit_places
        data = b""
        while True:
            first = len(data) // RECORD_BYTES
            answer = client.request(Request.AUDIT_READ, Answer.AUDIT, first.to_bytes(2, "little"))
            r = Reader(answer, "AUDIT")
            said, places, unit_places, works = r.unpack("HHHB")
            if not works:
                raise TargetError(
                    f"{client.link.name}: it writes no audit log: it has no identity yet (`tinyfin "
                    "provision`), or its flash takes no records"
                )
            data += (piece := r.rest())
            progress(len(data) // RECORD_BYTES, places)
            if len(data) == places * RECORD_BYTES:
                return data
            if said != first or not piece or len(piece) % RECORD_BYTES:
                raise ProtocolError(
                    f"{client.link.name}: AUDIT is not what docs/formats/wire.md says; flash the "
                    "firmware of this version of tinyfin"
                )

    data = _steady(client, ring, "its audit log")
    answer = client.request(Request.CHALLENGE_REQUEST, Answer.CHALLENGE)
    return AuditLog(answer[1 : 1 + ID_BYTES], unit_places, data)


def read_report(client: Client) -> bytes:
    """A report of the terminal, made now.

    Raises TargetError when it makes none: its firmware has no slots, or it has no identity yet.
    """
    _require(client, Capability.REPORT, "makes no reports")
    for _ in range(_ATTEMPTS):
        data = b""
        while True:
            offset = len(data).to_bytes(2, "little")
            r = Reader(client.request(Request.REPORT_READ, Answer.REPORT, offset), "REPORT")
            total, said = r.unpack("HH")
            if not total:
                raise TargetError(
                    f"{client.link.name}: it has no identity, so its reports could not be trusted; "
                    "give it one: `tinyfin provision`"
                )
            piece = r.rest()
            if said != len(data) or not piece or total > MOST_BYTES:
                break
            data += piece
            if len(data) >= total:
                return data
    raise LinkError(f"{client.link.name}: its report changes while it is read; read it again")
