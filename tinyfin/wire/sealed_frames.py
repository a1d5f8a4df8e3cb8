# SPDX-License-Identifier: Apache-2.0
"""What is sealed, over the wire: whether a terminal can, and its state as it seals it itself.

See ``docs/formats/sealed.md``.
"""

from __future__ import annotations

from tinyfin.errors import MismatchError, ProtocolError, TargetError
from tinyfin.field.sealing import NONCE_BYTES, Kind, Sealed
from tinyfin.wire.channel import NoSealingKey
from tinyfin.wire.client import Client
from tinyfin.wire.frames import OVERHEAD_BYTES
from tinyfin.wire.messages import Answer, Capability, Reader, Request

__all__ = ["read_sealed_state", "require_sealing", "without_key"]

_TRIES = 8
"""How often the state may change while it is read."""
_WORK_S = 10.0
"""For the hash of a large state on a slow core."""


def require_sealing(client: Client) -> None:
    """TargetError when the terminal's firmware opens and makes nothing that is sealed."""
    if not client.hello.capabilities & Capability.SEAL:
        raise TargetError(
            f"{client.link.name}: its firmware knows no sealing; build it with --sealed "
            "(TFIN_SEALED), or use what is not sealed"
        )


def without_key(client: Client, key_id: bytes) -> TargetError:
    """The error for a terminal that has not the sealing key of this id."""
    return TargetError(
        f"{client.link.name}: has no sealing key {key_id.hex()}; take a key that it has: its own "
        "(`tinyfin keygen --kind seal --fleet-key FILE --terminal ID`), which it has once it has "
        "an id, or one that its port gives"
    )


def read_sealed_state(client: Client, key_id: bytes) -> Sealed:
    """The terminal's state image, sealed by the terminal under its key of this id.

    Raises TargetError when it cannot seal or has no such key, MismatchError when its state changes
    all the while.
    """
    require_sealing(client)
    total = client.hello.state_bytes
    room = client.hello.frame_bytes - OVERHEAD_BYTES - 4 - NONCE_BYTES
    for _ in range(_TRIES):
        nonces: set[bytes] = set()
        content = bytearray()
        while len(content) < total and len(nonces) < 2:
            size = min(room, total - len(content))
            at = len(content).to_bytes(4, "little")
            asked = at + size.to_bytes(2, "little") + key_id
            try:
                answer = client.request(
                    Request.STATE_READ, Answer.STATE_DATA, asked, work_s=_WORK_S
                )
            except NoSealingKey:
                raise without_key(client, key_id) from None
            r = Reader(answer, "STATE_DATA")
            found = r.take(4)
            nonces.add(r.take(NONCE_BYTES))
            if found != at or r.left != size:
                raise ProtocolError(
                    f"{client.link.name}: answers STATE_READ with another piece than was asked "
                    "for; is its firmware of this version of tinyfin?"
                )
            content += r.rest()
        if len(nonces) == 1:
            return Sealed(Kind.STATE, key_id, nonces.pop(), bytes(content))
    raise MismatchError(
        f"{client.link.name}: its state changed while it was read, {_TRIES} times; keep "
        "transactions away from the terminal meanwhile"
    )
