# SPDX-License-Identifier: Apache-2.0
"""``tinyfin command``: signed commands to a terminal in service, or to all of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.output import FILE, Group, as_one, claim, emit, json_option, note
from tinyfin.cli.slots import as_dict, text
from tinyfin.cli.terminal import Terminal, terminal_options
from tinyfin.cli.trust import command_key_option, keys_option, public_key_option

if TYPE_CHECKING:
    from tinyfin.field.commands import Opcode
    from tinyfin.wire.client import Client

__all__ = ["command"]

_PACK_ID = re.compile("[0-9a-fA-F]{32}")


@dataclass(frozen=True)
class _Signed:
    """A command as it is asked for: what it says, to whom it goes, and who signs it."""

    name: str
    terminal: Terminal
    key_path: Path | None
    keys_path: Path | None
    as_json: bool
    pack: str | None = None
    value: int = 0
    public_keys: tuple[Path, ...] = ()
    broadcast: bool = False
    counter: int | None = None
    out_path: Path | None = None

    def run(self) -> None:
        """Sign the command and have it done, or write it for all terminals."""
        from tinyfin.field.commands import Opcode
        from tinyfin.field.signers import command_signer
        from tinyfin.wire import field_frames

        opcode = Opcode[self.name.upper().replace("-", "_")]
        if self.broadcast:
            self._write(opcode)
            return
        if self.counter is not None or self.out_path is not None:
            raise click.UsageError("--counter and --out go with --broadcast")
        signer, index = command_signer(self.key_path, self.keys_path)
        with self.terminal.connected() as client:
            slots = field_frames.command(
                client,
                opcode,
                signer,
                key_index=index,
                pack=self._of_terminal(client, opcode),
                value=self.value,
            )
        if opcode in (Opcode.ACTIVATE, Opcode.TRY, Opcode.REVERT):
            note("it takes effect at the next start: `tinyfin command reboot`")
        emit(as_dict(slots), self.as_json, text(slots))

    def _write(self, opcode: Opcode) -> None:
        from tinyfin import files
        from tinyfin.field.commands import Command, sign_command
        from tinyfin.field.signers import command_signer

        if self.counter is None or self.out_path is None:
            raise click.UsageError("--broadcast needs --counter N and --out FILE")
        if self.terminal.named:
            raise click.UsageError("--broadcast writes a file: send it with `tinyfin command send`")
        claim(self.out_path)
        signer, index = command_signer(self.key_path, self.keys_path)
        wanted = bytes(16) if self.pack is None else self._ids(self.pack)[0]
        made = Command(opcode, index, counter=self.counter, pack=wanted, value=self.value)
        files.write(self.out_path, sign_command(made, signer))
        facts = {"file": str(self.out_path), "opcode": opcode.words, "counter": self.counter}
        if self.pack is not None:
            facts["pack"] = wanted.hex()
        said = f"{self.out_path}: {opcode.words}, to all terminals, counter {self.counter}"
        emit(facts, self.as_json, said)

    def _ids(self, pack: str) -> list[bytes]:
        """Ids that PACK may mean: the id itself, or those of the pack in its layouts."""
        from tinyfin.hil.replay.playback import pack_ids
        from tinyfin.pack.container import parse_pack
        from tinyfin.pack.trust import require_trusted, trusted_keys
        from tinyfin.targets.flash import run_pack

        if _PACK_ID.fullmatch(pack):
            return [bytes.fromhex(pack)]
        path = run_pack(Path(pack))
        require_trusted(path.read_bytes(), trusted_keys(pack, self.public_keys), path)
        others = map(bytes.fromhex, pack_ids(Path(pack), self.public_keys))
        return [parse_pack(path.read_bytes()).pack_id, *others]

    def _of_terminal(self, client: Client, opcode: Opcode) -> bytes:
        """Which of the ids of PACK the terminal has; without PACK, that of the pack on trial."""
        from tinyfin.errors import TargetError
        from tinyfin.field.commands import PACK_OPCODES
        from tinyfin.wire import slot_frames

        if opcode not in PACK_OPCODES:
            return bytes(16)
        tag = slot_frames.info(client).other_tag
        ids = [bytes.fromhex(client.hello.pack_id)] if self.pack is None else self._ids(self.pack)
        found = next((one for one in ids if one.hex().startswith(tag)), None)
        if found is None and self.pack is None:
            raise TargetError(
                f"{client.link.name}: the pack on trial does not run, so name it: "
                f"`tinyfin command {opcode.words} PACK`"
            )
        return found or ids[0]


_TO_ALL = (
    click.option(
        "--broadcast", is_flag=True, help="For all terminals: write it to a file instead."
    ),
    click.option(
        "--counter",
        type=click.IntRange(1, 2**32 - 1),
        help="With --broadcast: higher than that of every broadcast before.",
    ),
    click.option(
        "--out",
        "out_path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --broadcast: the command, a .tfcommand file.",
    ),
)
"""The options with which a command goes to all terminals."""
_ALWAYS = (terminal_options, command_key_option, keys_option, json_option)


@click.group(cls=Group)
def command() -> None:
    """Tell a terminal in service what to do; it obeys what a command key has signed.

    PACK is a run folder, a .tfpack, or the 32 digits of a pack id. A command to one terminal is
    made for its next journal entry, and done once. `activate`, `try`, `abort` and `raise-floor`
    can be written for all terminals, too (--broadcast); then PACK means the file itself, in its
    layout.
    """


def _add(name: str, options: tuple[Callable[[Any], Any], ...], said: str) -> None:
    """One command of the group: it takes PACK, a value or nothing."""

    @command.command(name, help=said)
    @as_one("signed", functools.partial(_Signed, name), *options, *_ALWAYS)
    def verb(signed: _Signed) -> None:
        signed.run()


@command.command("send")
@click.argument("file", type=FILE)
@terminal_options
@json_option
def send(file: Path, terminal: Terminal, as_json: bool) -> None:
    """Send FILE, a command to all terminals, to one of them. It does it once."""
    from tinyfin.errors import InputError
    from tinyfin.field.commands import parse_command
    from tinyfin.wire import field_frames

    data = file.read_bytes()
    made = parse_command(data, file)
    if not made.is_broadcast:
        raise InputError(f"{file}: is for one terminal; make one with --broadcast")
    with terminal.connected() as client:
        slots = field_frames.broadcast(client, made, data)
    emit(as_dict(slots), as_json, text(slots))


def _seconds(context: click.Context, parameter: click.Parameter, time: str) -> int:
    """Seconds since 2000-01-01, UTC."""
    import datetime as dt

    from tinyfin.config import parse_moment
    from tinyfin.errors import InputError

    if time.isdecimal():
        return int(time)
    try:
        return parse_moment(dt.datetime.now(dt.UTC) if time == "now" else time)
    except ValueError as error:
        raise InputError(
            f"time {time!r}: give seconds since 2000-01-01, ISO 8601, or `now`"
        ) from error


def _token(context: click.Context, parameter: click.Parameter, token: str) -> int:
    from tinyfin.hil.state_image import parse_token

    return parse_token(token)


def _value(name: str, **how: Any) -> Callable[[Any], Any]:
    return click.argument("value", metavar=name, **how)


_PACK = (click.argument("pack"), public_key_option)
_MAYBE_PACK = (click.argument("pack", required=False), public_key_option)
_COUNTER = _value("SECURITY_COUNTER", type=click.IntRange(1, 2**32 - 1))

for _name, _options, _said in (
    (
        "activate",
        (*_PACK, *_TO_ALL),
        """Use PACK, which is staged, from the next start on.

        A pack that was released to replace the one that runs scores in its shadow first; any other
        goes on trial.
        """,
    ),
    (
        "try",
        (*_PACK, *_TO_ALL),
        "Start the trial of PACK at the next start, without a shadow or with no more of it.",
    ),
    (
        "confirm",
        _MAYBE_PACK,
        "Keep PACK, which is on trial; the floor rises to its security counter.",
    ),
    (
        "revert",
        _MAYBE_PACK,
        "Go back from PACK, which is on trial, to the pack before it, at the next start.",
    ),
    ("abort", (*_PACK, *_TO_ALL), "Forget PACK, which is being loaded, staged or in shadow."),
    (
        "stage",
        _PACK,
        "Let PACK be installed although it was given up before, and forget today's installs.",
    ),
    (
        "raise-floor",
        (_COUNTER, *_TO_ALL),
        "Let no pack with a lower SECURITY_COUNTER run again; at most that of the pack that runs.",
    ),
    (
        "erase-card",
        (_value("TOKEN", callback=_token),),
        "Forget the card of TOKEN, 64 bits in hexadecimal, in memory and flash.",
    ),
    (
        "set-time",
        (_value("TIME", callback=_seconds),),
        """Set the clock to TIME: seconds since 2000-01-01, ISO 8601, or `now` (UTC).

        Not to a day before the newest one of the journal.
        """,
    ),
    ("reboot", (), "Restart the terminal."),
    ("erase-state", (), "Forget all that the terminal has learned."),
):
    _add(_name, _options, _said)
