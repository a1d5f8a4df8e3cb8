# SPDX-License-Identifier: Apache-2.0
"""Packs over the wire: what the terminal says of its slots, and the installation of a pack.

See ``docs/formats/wire.md`` and ``firmware/src/slots/slots.h``.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from tinyfin.errors import LinkError, ProtocolError, TargetError
from tinyfin.field.probation import ProbationState, parse_image
from tinyfin.field.sealing import Sealed
from tinyfin.formats import PACK_HEADER, SIGNED_BYTES
from tinyfin.pack.signing import hash32
from tinyfin.wire.channel import NotOffered
from tinyfin.wire.client import Client
from tinyfin.wire.frames import OVERHEAD_BYTES
from tinyfin.wire.messages import Answer, Capability, Reader, Request
from tinyfin.wire.sealed_frames import require_sealing, without_key

__all__ = [
    "Command",
    "Journal",
    "Phase",
    "Place",
    "Reason",
    "Result",
    "SlotInfo",
    "StateFound",
    "StateLog",
    "Status",
    "ask",
    "command",
    "info",
    "install",
    "known",
    "probation",
    "require",
]

_TAG_BYTES = 4
_CRC_BYTES = 4
_STATE_LOG = struct.Struct("<BIHH")


class Phase(IntEnum):
    """What the slot that does not hold the active pack is used for."""

    NONE = 0
    ERASING = 1
    LOADING = 2
    STAGED = 3
    SHADOW = 4
    TRIAL = 5


class Place(IntEnum):
    """Where a pack lies."""

    SLOT_0 = 0
    SLOT_1 = 1
    FACTORY = 2
    NONE = 3


class Journal(IntEnum):
    """What the journal was at the last start."""

    BLANK = 0
    LOST = 1
    FOUND = 2


class StateFound(IntEnum):
    """What the state log was at the last start."""

    BLANK = 0
    LOST = 1
    FOUND = 2


class Command(IntEnum):
    """What can be done with a pack that was installed."""

    ACTIVATE = 0
    CONFIRM = 1
    REVERT = 2
    ABORT = 3
    TRY = 4


class Result(IntEnum):
    """What the terminal answers."""

    OK = 0
    BUSY = 1
    PHASE = 2
    HERE = 3
    REFUSED = 4
    TOO_OFTEN = 5
    TOO_LARGE = 6
    KERNELS = 7
    OFFSET = 8
    OTHER_HEADER = 9
    NOT_ALIVE = 10
    ENGINE = 11
    FLASH = 12
    SCHEMA = 20
    KEY = 21
    SIGNATURE = 22
    NONCE = 23
    COUNTER = 24
    TERMINAL = 25
    IDENTITY = 26
    PACK = 27
    VALUE = 28
    VERSION = 29
    SEALING_KEY = 30
    PLAIN = 31


class Reason(IntEnum):
    """Why the phase is what it is."""

    NONE = 0
    JOURNAL_LOST = 1
    ABORTED = 2
    REVERTED = 3
    TRIES_USED_UP = 4
    DAMAGED = 5
    CONFIRMED = 6
    SHADOW = 7
    TRIAL = 8


Number = TypeVar("Number", bound=IntEnum)


def known(what: type[Number], value: int) -> Number:
    """A number of the terminal's as ours; ProtocolError when it is none."""
    try:
        return what(value)
    except ValueError:
        raise ProtocolError(
            f"the terminal says {what.__name__.lower()} {value}, which this version of tinyfin "
            "does not know; update tinyfin, or flash the firmware of this version"
        ) from None


_WHY = {
    Result.BUSY: "it is still at work; try again in a minute",
    Result.REFUSED: "this pack was aborted or reverted here before, or it left its bounds, or its "
    "trial failed; install another one, or let it come again: `tinyfin command stage`",
    Result.TOO_OFTEN: "four installs have begun today; try again tomorrow",
    Result.TOO_LARGE: "the pack is larger than a slot",
    Result.KERNELS: "the pack's network needs kernels that its firmware does not have; build the "
    "firmware with custom_tinyfin_kernels = all",
    Result.OTHER_HEADER: "another pack is being installed at the same time",
    Result.NOT_ALIVE: "the pack on trial has not scored eight events yet",
    Result.FLASH: "its flash does not take what is written: the terminal is to be replaced",
    Result.SCHEMA: "the pack's events have other fields than its firmware",
    Result.KEY: "it has no command key of this number; sign with one of its key manifest, and give "
    "the manifest with --keys",
    Result.SIGNATURE: "the signature is not that of the key it knows: sign with a command key of "
    "its key manifest and give the manifest with --keys, a manifest with the root key of its "
    "firmware",
    Result.NONCE: "the command was made before something else was done; make it again",
    Result.COUNTER: "it has done this one, or one with a higher number; make it with a higher one",
    Result.TERMINAL: "it is made for another terminal; make it for the id of this one",
    Result.IDENTITY: "it has no id yet (`tinyfin provision`), or has one already, which stays",
    Result.PACK: "it holds another pack than the one that is named; see `tinyfin slots`",
    Result.VALUE: "it does not take this value: a floor is at most the security counter of the "
    "pack that runs, a time not before the day of its journal",
    Result.VERSION: "it has a newer key manifest, or another one of this version; make one with a "
    "higher version",
    Result.PLAIN: "it takes no pack that is not sealed; seal this one with `tinyfin seal`",
}


@dataclass(frozen=True)
class StateLog:
    """What the terminal keeps in flash of what it has learned."""

    found: StateFound
    works: bool
    """False when the pack's state has no space, or the flash is worn out."""
    images: int
    """Number of the newest image; it never falls, unless flash was put back."""
    events: int
    """Outcomes and notices behind it."""
    restored: int
    """Of them, at the last start."""


@dataclass(frozen=True)
class SlotInfo:
    """SLOT_INFO. Tags are the first four bytes of pack ids, hexadecimal."""

    phase: Phase
    active: Place
    other: Place
    running: Place
    reason: Reason
    installs_today: int
    detail: int
    journal: Journal
    active_tag: str
    other_tag: str
    floor: int
    """No pack with a lower security counter runs."""
    sequence: int
    counter: int
    """Security counter of the pack that runs."""
    slot_bytes: int
    erase_bytes: int
    worst_erase_ms: int
    state_log: StateLog | None
    """None when the firmware keeps no state."""

    @property
    def tries(self) -> int | None:
        """Tries left to the pack on trial."""
        return self.detail & 15 if self.phase == Phase.TRIAL else None

    @property
    def worked(self) -> bool:
        """Whether the pack on trial has scored eight events in a boot of this trial."""
        return self.phase == Phase.TRIAL and bool(self.detail & 32)


@dataclass(frozen=True)
class Status:
    """PACK_STATUS."""

    result: Result
    engine_error: int
    phase: Phase
    next: int
    """Offset of the data that an install goes on with."""


def info(client: Client) -> SlotInfo:
    """What the terminal's slots hold. Raises TargetError when its firmware has no slots."""
    if not client.hello.capabilities & Capability.INSTALL:
        raise TargetError(
            f"{client.link.name}: its firmware keeps no pack in flash (docs/field.md says which "
            "boards do); replace the pack with the firmware: `tinyfin flash`"
        )
    r = Reader(client.request(Request.SLOT_INFO_REQUEST, Answer.SLOT_INFO), "SLOT_INFO")
    _, running, journal, _, worst_ms, erase, slot, counter = r.unpack("BBBBHIII")
    _, places, detail, reason, sequence, floor, _, _, _ = r.unpack("BBBBIIIHH")
    active_tag, other_tag = r.take(_TAG_BYTES).hex(), r.take(_TAG_BYTES).hex()
    log = r.rest()[_CRC_BYTES:]
    state_log = None
    if len(log) >= _STATE_LOG.size:
        found, images, events, restored = _STATE_LOG.unpack_from(log)
        state_log = StateLog(known(StateFound, found & 127), found > 127, images, events, restored)
    return SlotInfo(
        phase=known(Phase, places >> 4),
        active=known(Place, places & 3),
        other=known(Place, places >> 2 & 3),
        running=known(Place, running),
        reason=known(Reason, reason & 31),
        installs_today=reason >> 5,
        detail=detail,
        journal=known(Journal, journal),
        active_tag=active_tag,
        other_tag=other_tag,
        floor=floor,
        sequence=sequence,
        counter=counter,
        slot_bytes=slot,
        erase_bytes=erase,
        worst_erase_ms=worst_ms,
        state_log=state_log,
    )


def ask(
    client: Client, info: SlotInfo, request: Request, payload: bytes, bytes_erased: int = 0
) -> Status:
    """Ask until the terminal is no longer at work. Every request may be repeated.

    bytes_erased: how much flash it erases for this, at most.
    """
    units = -(-bytes_erased // info.erase_bytes)
    work_s = 5.0 + units * info.worst_erase_ms / 1000
    deadline = time.monotonic() + client.deadline_s + work_s
    while True:
        answer = client.request(request, Answer.PACK_STATUS, payload, work_s=work_s)
        r = Reader(answer, "PACK_STATUS")
        (result,) = r.unpack("B")
        error = r.signed()
        (phase,) = r.unpack("B")
        status = Status(known(Result, result), error, known(Phase, phase), r.varint())
        if status.result != Result.BUSY or time.monotonic() > deadline:
            return status
        time.sleep(0.02)


def install(
    client: Client,
    pack: bytes | Sealed,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> SlotInfo:
    """Put a pack into the terminal's free slot, to STAGED; goes on where an earlier call stopped.

    A sealed pack stays sealed: no key is needed here. progress: is called with bytes done and bytes
    in all. Raises TargetError with the terminal's reason when it refuses the pack, or has no
    sealing or not this key, LinkError when it takes no more data.
    """
    before = info(client)
    announced = b""
    if isinstance(pack, Sealed):
        require_sealing(client)
        sealed, announced, pack = pack, pack.announced, pack.content
    else:
        tag = hash32(pack[:SIGNED_BYTES])[:_TAG_BYTES].hex()
        if before.phase == Phase.TRIAL and before.other_tag == tag:
            return before
    header = pack[: PACK_HEADER.size]
    status = ask(client, before, Request.PACK_BEGIN, header + announced, len(pack))
    if status.result == Result.HERE:
        return info(client)
    if status.result == Result.SEALING_KEY:
        raise without_key(client, sealed.key_id)
    require(client, status, Result.OK)
    piece = (client.frame_bytes - OVERHEAD_BYTES - 4) // 32 * 32
    stuck = 0
    while status.next < len(pack):
        progress(status.next, len(pack))
        at = status.next
        data = pack[at : at + piece]
        status = ask(client, before, Request.PACK_DATA, at.to_bytes(4, "little") + data)
        require(client, status, Result.OK, Result.OFFSET)
        stuck = stuck + 1 if status.next <= at else 0
        if stuck > 8:
            raise LinkError(f"{client.link.name}: takes no more of the pack, at byte {at}")
    progress(len(pack), len(pack))
    status = ask(client, before, Request.PACK_END, header)
    if not (status.result == Result.PHASE and status.phase == Phase.STAGED):  # asked again: it is
        require(client, status, Result.OK)
    return info(client)


_DONE: dict[Command, Callable[[SlotInfo], bool]] = {
    Command.ACTIVATE: lambda now: now.phase in (Phase.SHADOW, Phase.TRIAL),
    Command.TRY: lambda now: now.phase == Phase.TRIAL,
    Command.CONFIRM: lambda now: now.reason == Reason.CONFIRMED,
    Command.REVERT: lambda now: now.reason == Reason.REVERTED,
    Command.ABORT: lambda now: now.reason == Reason.ABORTED,
}


def probation(client: Client) -> ProbationState | None:
    """What the terminal has counted of the pack in shadow or on trial; None without one, and of
    firmware that knows no probation."""
    try:
        return parse_image(client.request(Request.PROBATION_READ, Answer.PROBATION))
    except NotOffered:
        return None


def command(client: Client, which: Command) -> SlotInfo:
    """Activate, confirm, revert or abort. Raises TargetError with the terminal's reason."""
    before = info(client)
    try:
        status = ask(client, before, Request.SLOT_COMMAND, bytes([which]))
    except NotOffered as error:
        if not client.hello.capabilities & Capability.COMMAND:
            raise
        raise TargetError(
            f"{client.link.name}: a release takes signed commands alone (NOT_OFFERED): "
            f"`tinyfin command {which.name.lower()} PACK --key FILE`"
        ) from error
    after = info(client)
    if status.result == Result.PHASE and after.sequence != before.sequence and _DONE[which](after):
        return after  # a repeated request: the first one did it
    require(client, status, Result.OK)
    return after


def require(client: Client, status: Status, *good: Result) -> None:
    """TargetError with the terminal's reason unless its result is one of ``good``."""
    if status.result in good:
        return
    if status.result == Result.ENGINE:
        from tinyfin.twin import error_name

        name = error_name(status.engine_error)
        why = f"its engine refuses the pack: {name}"
        if name.startswith("TFIN_E_MEMORY"):
            why += "; build the firmware with this pack, or one that needs as much"
    elif status.result == Result.PHASE:
        why = f"it cannot do that now (phase {status.phase.name}): see `tinyfin slots`"
    else:
        why = _WHY.get(status.result, status.result.name)
    raise TargetError(f"{client.link.name}: {why}")
