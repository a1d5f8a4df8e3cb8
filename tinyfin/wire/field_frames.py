# SPDX-License-Identifier: Apache-2.0
"""Keys, commands and notices over the wire: docs/formats/wire.md.

Everything here may be asked again when its answer was lost. The terminal does each thing once; what
it says of the second copy (a nonce that is void, a number that is done) is no failure when its
state shows that the first one was done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinyfin.errors import InputError, TargetError
from tinyfin.field.commands import NONCE_BYTES, Command, Opcode, nonce_of, sign_command
from tinyfin.field.keys import ID_BYTES, TerminalKeys, parse_manifest
from tinyfin.field.notices import Page
from tinyfin.pack.signing import Key
from tinyfin.wire import slot_frames
from tinyfin.wire.channel import TargetRebooted
from tinyfin.wire.client import Client
from tinyfin.wire.messages import Answer, Capability, Reader, Request
from tinyfin.wire.slot_frames import Phase, Reason, Result, SlotInfo

__all__ = [
    "Challenge",
    "broadcast",
    "challenge",
    "command",
    "install_keys",
    "provision",
    "send_notices",
]

_TFIN_E_TIME = -33
_ATTEMPTS = 3
"""Nonces for one command: something else may be written to the journal meanwhile."""


@dataclass(frozen=True)
class Challenge:
    """CHALLENGE."""

    terminal: bytes
    """Id of 8 bytes; zeros when it has none."""
    nonce: bytes
    """For the next command to it, 16 bytes; zeros without an id."""
    commands: int
    """Highest counter of a broadcast that it has obeyed."""
    notices: int
    """Number of the newest page of notices that it has done."""
    keys_version: int
    """Of its key manifest; 0 when it has none, and its root key signs commands."""


def challenge(client: Client) -> Challenge:
    """What the terminal's next command has to be made for. Raises TargetError when its firmware
    takes no commands."""
    if not client.hello.capabilities & Capability.COMMAND:
        raise TargetError(
            f"{client.link.name}: its firmware takes no signed commands; build it for a board that "
            "keeps packs in flash (docs/field.md), a release with --root-key FILE"
        )
    answer = client.request(Request.CHALLENGE_REQUEST, Answer.CHALLENGE)
    r = Reader(answer, "CHALLENGE")
    r.take(1)
    return Challenge(r.take(ID_BYTES), r.take(NONCE_BYTES), *r.unpack("IHH"))


_DONE: dict[Opcode, Callable[[SlotInfo, Command], bool]] = {
    Opcode.ACTIVATE: lambda now, c: (
        now.phase in (Phase.SHADOW, Phase.TRIAL) and _is(now.other_tag, c)
    ),
    Opcode.TRY: lambda now, c: now.phase == Phase.TRIAL and _is(now.other_tag, c),
    Opcode.CONFIRM: lambda now, c: now.reason == Reason.CONFIRMED and _is(now.active_tag, c),
    Opcode.REVERT: lambda now, c: now.reason == Reason.REVERTED and _is(now.other_tag, c),
    Opcode.ABORT: lambda now, c: now.reason == Reason.ABORTED and _is(now.other_tag, c),
    Opcode.RAISE_FLOOR: lambda now, c: now.floor >= c.value,
}
"""How the slots show that a command was done. What is not here may be done twice."""


def _is(tag: str, command: Command) -> bool:
    return command.pack.hex().startswith(tag)


def command(
    client: Client,
    opcode: Opcode,
    signer: Key,
    *,
    key_index: int = 0,
    pack: bytes = bytes(16),
    value: int = 0,
) -> SlotInfo:
    """Make a command for this terminal and have it done; what its slots hold then.

    key_index: of the signer's key in the terminal's key manifest. pack: id of 16 bytes; value: by
    opcode. Raises TargetError with the terminal's reason, InputError when the command breaks a rule
    of its opcode.
    """
    before = slot_frames.info(client)
    for _ in range(_ATTEMPTS):
        now = challenge(client)
        if not any(now.terminal):
            raise TargetError(
                f"{client.link.name}: it has no id yet, so no command can be made for it alone; "
                "give it one: `tinyfin provision`"
            )
        made = Command(opcode, key_index, now.terminal, nonce=now.nonce, pack=pack, value=value)
        try:
            status = slot_frames.ask(client, before, Request.COMMAND, sign_command(made, signer))
        except TargetRebooted:
            if opcode != Opcode.REBOOT:
                raise
            break  # the answer was lost, the restart was not
        if status.result != Result.NONCE:
            slot_frames.require(client, status, Result.OK)
            break
        after = slot_frames.info(client)
        if after.sequence != before.sequence and opcode in _DONE and _DONE[opcode](after, made):
            return after  # a repeated request: the first one did it
    else:
        slot_frames.require(client, status, Result.OK)
    if opcode == Opcode.REBOOT:
        client.restarts()
        client.connect()
    return slot_frames.info(client)


def broadcast(client: Client, made: Command, data: bytes) -> SlotInfo:
    """Have a command to all terminals done by this one; what its slots hold then.

    Nothing is sent to a terminal that has done it. Raises TargetError with the terminal's reason.
    """
    before = slot_frames.info(client)
    if challenge(client).commands == made.counter:
        return before
    status = slot_frames.ask(client, before, Request.COMMAND, data)
    if not (status.result == Result.COUNTER and challenge(client).commands == made.counter):
        slot_frames.require(client, status, Result.OK)
    return slot_frames.info(client)


def install_keys(client: Client, manifest: bytes) -> Challenge:
    """Put a key manifest into the terminal. Raises TargetError with the terminal's reason."""
    parse_manifest(manifest)
    challenge(client)
    status = slot_frames.ask(client, slot_frames.info(client), Request.KEYS, manifest)
    if status.result == Result.KEY:
        raise TargetError(
            f"{client.link.name}: the manifest is made for another root key; make it with the root "
            "key of its firmware"
        )
    slot_frames.require(client, status, Result.OK)
    return challenge(client)


def provision(client: Client, terminal: bytes, keys: TerminalKeys) -> Challenge:
    """Give the terminal its id of 8 bytes and its secrets, once and for all.

    A terminal that has them already is fine. Raises TargetError when it has others.
    """
    now = challenge(client)
    if not any(now.terminal):
        payload = terminal + keys.report + keys.audit
        status = slot_frames.ask(client, slot_frames.info(client), Request.PROVISION, payload)
        slot_frames.require(client, status, Result.OK, Result.IDENTITY)
        now = challenge(client)
    if now.terminal != terminal:
        raise TargetError(f"{client.link.name}: it is terminal {now.terminal.hex()} already")
    for _ in range(_ATTEMPTS):  # the journal may be written between the two questions
        sequence, now = slot_frames.info(client).sequence, challenge(client)
        if now.nonce == nonce_of(keys.report, sequence, client.hello.boot_nonce):
            return now
    raise TargetError(
        f"{client.link.name}: it is terminal {terminal.hex()} already, with the secrets of another "
        "fleet key; give the fleet key that it was provisioned with"
    )


def send_notices(
    client: Client,
    pages: Sequence[tuple[Page, bytes]],
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Challenge:
    """Send the pages that the terminal has not done yet, in their order.

    progress: is called with pages done and pages in all. Raises InputError when pages are missing
    before the first one or they are for another terminal, TargetError with the terminal's reason.
    """
    now = challenge(client)
    first = pages[0][0]
    if now.terminal != first.terminal:
        is_ = f"is terminal {now.terminal.hex()}" if any(now.terminal) else "has no id"
        raise InputError(
            f"{client.link.name}: {is_}; these notices are for terminal {first.terminal.hex()}"
        )
    if first.number > now.notices + 1:
        raise InputError(
            f"{client.link.name}: it has done the pages of notices up to {now.notices}; these "
            f"begin with {first.number}: send those between them first"
        )
    before = slot_frames.info(client)
    for done, (page, data) in enumerate(pages):
        progress(done, len(pages))
        if page.number <= now.notices:
            continue
        status = slot_frames.ask(client, before, Request.NOTICES, data)
        if status.result == Result.ENGINE and status.engine_error == _TFIN_E_TIME:
            raise TargetError(
                f"{client.link.name}: its clock has not begun, so it cannot date notices; send "
                "them after its first event, or set it: `tinyfin command set-time now`"
            )
        if not (
            status.result == Result.COUNTER and challenge(client).notices == page.number
        ):  # asked again: it is done
            slot_frames.require(client, status, Result.OK)
    progress(len(pages), len(pages))
    return challenge(client)
