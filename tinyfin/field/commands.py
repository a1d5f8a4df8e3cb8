# SPDX-License-Identifier: Apache-2.0
"""Signed commands, to one terminal or to all: docs/formats/commands.md."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tinyfin.errors import InputError
from tinyfin.field.keys import ID_BYTES, mac
from tinyfin.pack.signing import Key, verify

__all__ = [
    "BROADCAST",
    "COMMAND_BYTES",
    "NONCE_BYTES",
    "PACK_OPCODES",
    "VALUE_OPCODES",
    "Command",
    "Opcode",
    "nonce_of",
    "parse_command",
    "sign_command",
    "verified_command",
]

NONCE_BYTES = 16
_PACK_BYTES = 16
_MAGIC = 0x4D434654  # TFCM
_LAYOUT = struct.Struct(f"<IBBBx{ID_BYTES}s{NONCE_BYTES}sI{_PACK_BYTES}sQ4x")
_SIGNATURE_BYTES = 64
COMMAND_BYTES = _LAYOUT.size + _SIGNATURE_BYTES
_TO_ALL = 1


class Opcode(IntEnum):
    """What a command asks for."""

    ACTIVATE = 1
    CONFIRM = 2
    REVERT = 3
    ABORT = 4
    RAISE_FLOOR = 5
    ERASE_CARD = 6
    SET_TIME = 7
    STAGE = 8
    REBOOT = 9
    ERASE_STATE = 10
    TRY = 11

    @property
    def words(self) -> str:
        """As it is typed: ``raise-floor``."""
        return self.name.lower().replace("_", "-")


BROADCAST = frozenset({Opcode.ACTIVATE, Opcode.TRY, Opcode.ABORT, Opcode.RAISE_FLOOR})
"""What may be said to all terminals: done twice, or late, it does no harm."""
PACK_OPCODES = frozenset(
    {Opcode.ACTIVATE, Opcode.CONFIRM, Opcode.REVERT, Opcode.ABORT, Opcode.STAGE, Opcode.TRY}
)
"""What names a pack."""
VALUE_OPCODES = {
    Opcode.RAISE_FLOOR: ("security counter", 32),
    Opcode.ERASE_CARD: ("token", 64),
    Opcode.SET_TIME: ("time in s", 32),
}
"""What has a value, and its bits. It is not 0."""


@dataclass(frozen=True)
class Command:
    """One command. Raises InputError when a field breaks the rules of its opcode."""

    opcode: Opcode
    key_index: int = 0
    """Of the command key that signs it, in the terminal's key manifest."""
    terminal: bytes = bytes(ID_BYTES)
    """To one terminal: its id. Zeros to all."""
    nonce: bytes = bytes(NONCE_BYTES)
    """To one terminal: the nonce of its CHALLENGE."""
    counter: int = 0
    """To all: higher than that of every broadcast before. 0 to one terminal."""
    pack: bytes = bytes(_PACK_BYTES)
    value: int = 0
    """Security counter, token, or seconds since 2000-01-01, by opcode."""

    def __post_init__(self) -> None:
        for what, rule in self._rules():
            if not rule:
                raise InputError(f"command {self.opcode.words}: {what}")

    def _rules(self) -> list[tuple[str, bool]]:
        name, bits = VALUE_OPCODES.get(self.opcode, ("value", 0))
        one = any(self.terminal)
        return [
            ("its key index is 0 or 1", self.key_index in (0, 1)),
            ("a terminal id has 8 bytes", len(self.terminal) == ID_BYTES),
            ("a nonce has 16 bytes", len(self.nonce) == NONCE_BYTES),
            ("a pack id has 16 bytes", len(self.pack) == _PACK_BYTES),
            (
                "it cannot be said to all terminals, only "
                + ", ".join(sorted(x.words for x in BROADCAST))
                + "; send it to each with --port",
                one or self.opcode in BROADCAST,
            ),
            ("to one terminal it needs a nonce and has no counter", not one or self._is_single()),
            (
                "to all terminals it needs a counter, 1 to 4294967295, and has no nonce",
                one or (0 < self.counter < 1 << 32 and not any(self.nonce)),
            ),
            (
                "it names a pack" if self.opcode in PACK_OPCODES else "it names no pack",
                any(self.pack) == (self.opcode in PACK_OPCODES),
            ),
            (
                f"its {name} is 1 to {(1 << bits) - 1}" if bits else "it has no value",
                0 < self.value < 1 << bits if bits else self.value == 0,
            ),
        ]

    def _is_single(self) -> bool:
        return any(self.nonce) and self.counter == 0

    @property
    def is_broadcast(self) -> bool:
        """Whether it is meant for all terminals."""
        return not any(self.terminal)


def nonce_of(report_key: bytes, sequence: int, boot_nonce: int) -> bytes:
    """The nonce of a terminal with this report key, at this sequence number of its journal, in the
    boot of this nonce: who knows the key can tell that the terminal has it."""
    return mac(report_key, b"nonce" + struct.pack("<II", sequence, boot_nonce), NONCE_BYTES)


def sign_command(command: Command, signer: Key) -> bytes:
    """The 128 bytes of a command."""
    signed = _LAYOUT.pack(
        _MAGIC,
        command.opcode,
        _TO_ALL * command.is_broadcast,
        command.key_index,
        command.terminal,
        command.nonce,
        command.counter,
        command.pack,
        command.value,
    )
    return signed + signer.sign(signed)


def parse_command(data: bytes, where: str | Path = "command") -> Command:
    """The command of ``data``; the signature is not checked. Raises InputError that begins with
    ``where``."""
    if len(data) != COMMAND_BYTES or data[:4] != _MAGIC.to_bytes(4, "little"):
        raise InputError(
            f"{where}: is no command: it is {COMMAND_BYTES} bytes that begin with TFCM; make one "
            "with `tinyfin command`"
        )
    _, opcode, flags, index, terminal, nonce, counter, pack, value = _LAYOUT.unpack_from(data)
    if opcode not in Opcode._value2member_map_:
        raise InputError(f"{where}: opcode {opcode} is not known; update tinyfin")
    try:
        command = Command(Opcode(opcode), index, terminal, nonce, counter, pack, value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if flags != _TO_ALL * command.is_broadcast or data[7] or any(data[60:64]):
        raise InputError(f"{where}: its flags or unused bytes are not known; update tinyfin")
    return command


def verified_command(data: bytes, keys: Sequence[bytes], where: str | Path = "command") -> Command:
    """As :func:`parse_command`; also InputError unless the key of its index, of the public command
    keys of the terminal, has signed it."""
    command = parse_command(data, where)
    if command.key_index >= len(keys):
        raise InputError(f"{where}: names command key {command.key_index}, which there is not")
    if not verify(data[_LAYOUT.size :], data[: _LAYOUT.size], keys[command.key_index]):
        raise InputError(
            f"{where}: its signature is not that of command key {command.key_index}; sign it again"
        )
    return command
