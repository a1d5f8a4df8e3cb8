# SPDX-License-Identifier: Apache-2.0
"""What a terminal answers to keys, commands and notices, written from docs/formats alone.

Numbers, layouts and rules are its own; nothing of tinyfin is imported, so that a mistake there
cannot hide here. Every ``take_*`` returns the result code of PACK_STATUS, or MALFORMED where the
wire answers ERROR MALFORMED, and changes the terminal only with OK.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field

import monocypher

OK, PHASE, NOT_ALIVE = 0, 2, 10
KEY, SIGNATURE, NONCE, COUNTER, TERMINAL, IDENTITY, PACK, VALUE, VERSION = range(21, 30)
MALFORMED = -1

ACTIVATE, CONFIRM, REVERT, ABORT, RAISE_FLOOR, ERASE_CARD, SET_TIME, STAGE, REBOOT, ERASE_STATE = (
    range(1, 11)
)
TRY = 11
OF_PACK = (ACTIVATE, CONFIRM, REVERT, ABORT, STAGE, TRY)
OF_VALUE = (RAISE_FLOOR, ERASE_CARD, SET_TIME)
TO_ALL = (ACTIVATE, TRY, ABORT, RAISE_FLOOR)

PHASE_NONE, ERASING, LOADING, STAGED, SHADOW, TRIAL = 0, 1, 2, 3, 4, 5
DAY_S = 86400
TAG_BYTES = 4


def number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def mac(secret: bytes, message: bytes, size: int) -> bytes:
    return hashlib.blake2b(secret + bytes(96) + message, digest_size=32).digest()[:size]


def signed_by(key: bytes, data: bytes) -> bool:
    return bool(monocypher.signature_check(data[-64:], key, data[:-64]))


@dataclass
class Terminal:
    """A terminal with a root key, and what its flash holds."""

    root: bytes
    id: bytes = bytes(8)
    """Zeros: no identity."""
    report_key: bytes = bytes(32)
    audit_key: bytes = bytes(32)
    manifest: bytes = b""
    sequence: int = 1
    boot_nonce: int = 1
    commands: int = 0
    """Highest counter of a broadcast that was obeyed."""
    notices: int = 0
    """Number of the newest page that was done."""
    day: int = 0
    floor: int = 0
    running_counter: int = 0
    """Security counter of the pack that runs."""
    trial_runs: bool = False
    """That is the pack in trial."""
    phase: int = PHASE_NONE
    other: bytes = bytes(16)
    """Id of the pack that is loaded, staged or in trial."""
    alive: bool = False
    """The pack in trial has worked."""
    obeyed: list[tuple[int, bytes, int]] = field(default_factory=list)
    """Opcode, pack and value of every command that was done."""
    noticed: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Transaction, token, time and label of every notice that was done."""

    def command_keys(self) -> list[bytes]:
        if not self.manifest:
            return [self.root]
        return [self.manifest[96 + 32 * i :][:32] for i in range(self.manifest[7])]

    def release_keys(self) -> list[bytes]:
        return [self.manifest[32 + 32 * i :][:32] for i in range((self.manifest or bytes(7))[6])]

    def nonce(self) -> bytes:
        if not any(self.id):
            return bytes(16)
        now = self.sequence.to_bytes(4, "little") + self.boot_nonce.to_bytes(4, "little")
        return mac(self.report_key, b"nonce" + now, 16)

    def challenge(self) -> bytes:
        """The payload of CHALLENGE."""
        version = number(self.manifest, 4, 2)
        return (
            b"\x01"
            + self.id
            + self.nonce()
            + self.commands.to_bytes(4, "little")
            + self.notices.to_bytes(2, "little")
            + version.to_bytes(2, "little")
        )

    def restart(self) -> None:
        """Another boot: every nonce is void."""
        self.boot_nonce += 1

    def changed(self) -> None:
        """The journal was written: every nonce is void."""
        self.sequence += 1

    def take_provision(self, data: bytes) -> int:
        if len(data) != 72 or not any(data[:8]):
            return MALFORMED
        if any(self.id):
            return IDENTITY
        self.id, self.report_key, self.audit_key = data[:8], data[8:40], data[40:]
        self.changed()
        return OK

    def take_keys(self, data: bytes) -> int:
        if len(data) != 224:
            return MALFORMED
        if data[:4] != b"TFKM" or number(data, 28, 4) != zlib.crc32(data[:28] + data[32:160]):
            return KEY
        if data[8:16] != self.root[:8] or any(data[16:28]):
            return KEY
        used = []
        for at, count in ((32, data[6]), (96, data[7])):
            if not 1 <= count <= 2 or (count == 1 and any(data[at + 32 : at + 64])):
                return KEY
            used += [data[at + 32 * i :][:32] for i in range(count)]
        if not all(map(any, used)) or len(set(used)) < len(used):
            return KEY
        if data != self.manifest and number(data, 4, 2) <= number(self.manifest, 4, 2):
            return VERSION
        if not signed_by(self.root, data):
            return SIGNATURE
        if data == self.manifest:
            return OK
        self.manifest = data
        self.changed()
        return OK

    def take_command(self, data: bytes) -> int:
        if len(data) != 128:
            return MALFORMED
        opcode, flags, index = data[4], data[5], data[6]
        terminal, nonce, pack = data[8:16], data[16:32], data[36:52]
        counter, value = number(data, 32, 4), number(data, 52, 8)
        to_all = flags == 1
        if data[:4] != b"TFCM" or flags > 1 or data[7] or any(data[60:64]):
            return MALFORMED
        if any(pack) != (opcode in OF_PACK) or bool(value) != (opcode in OF_VALUE):
            return MALFORMED
        if any(terminal + nonce) if to_all else counter:
            return MALFORMED
        if index >= len(self.command_keys()):
            return KEY
        if to_all:
            if counter <= self.commands:
                return COUNTER
        elif not any(self.id):
            return IDENTITY
        elif terminal != self.id:
            return TERMINAL
        elif nonce != self.nonce():
            return NONCE
        if not signed_by(self.command_keys()[index], data):
            return SIGNATURE
        if not ACTIVATE <= opcode <= TRY or (to_all and opcode not in TO_ALL):
            return VALUE
        refused = self.why_not(opcode, pack, value)
        if refused:
            return refused
        self.commands = counter if to_all else self.commands
        self.changed()
        self.obey(opcode, value)
        self.obeyed.append((opcode, pack, value))
        return OK

    def why_not(self, opcode: int, pack: bytes, value: int) -> int:
        """What the state of the terminal says against a command that is signed."""
        phases = {
            ACTIVATE: (STAGED,),
            TRY: (STAGED, SHADOW),
            CONFIRM: (TRIAL,),
            REVERT: (TRIAL,),
            ABORT: (ERASING, LOADING, STAGED, SHADOW),
            STAGE: (PHASE_NONE,),
        }
        if opcode in phases:
            if pack[:TAG_BYTES] != self.other[:TAG_BYTES]:
                return PACK
            if self.phase not in phases[opcode]:
                return PHASE
        if opcode == CONFIRM and not self.alive:
            return NOT_ALIVE
        if opcode == RAISE_FLOOR and (self.trial_runs or value > self.running_counter):
            return VALUE
        if opcode == SET_TIME and (value >= (1 << 32) - 1 or value // DAY_S < self.day):
            return VALUE
        return OK

    def obey(self, opcode: int, value: int) -> None:
        """The effect, as far as the model has what it changes."""
        if opcode in (ACTIVATE, TRY):
            self.phase, self.alive = TRIAL, False
        elif opcode in (CONFIRM, REVERT, ABORT):
            self.phase = PHASE_NONE
        elif opcode == RAISE_FLOOR:
            self.floor = max(self.floor, value)
        elif opcode == SET_TIME:
            self.day = value // DAY_S
        elif opcode == REBOOT:
            self.restart()

    def take_notices(self, data: bytes) -> int:
        if len(data) < 80 or len(data) != 80 + 21 * data[4]:
            return MALFORMED
        rows = [data[at : at + 21] for at in range(16, len(data) - 64, 21)]
        if data[:4] != b"TFNT" or not rows or any(row[20] > 1 for row in rows):
            return MALFORMED
        if data[5] >= len(self.command_keys()):
            return KEY
        if not any(self.id):
            return IDENTITY
        if data[8:16] != self.id:
            return TERMINAL
        if number(data, 6, 2) != self.notices + 1:
            return COUNTER
        if not signed_by(self.command_keys()[data[5]], data):
            return SIGNATURE
        self.notices = number(data, 6, 2)
        self.noticed += [(number(x, 0, 8), number(x, 8, 8), number(x, 16, 4), x[20]) for x in rows]
        self.changed()
        return OK
