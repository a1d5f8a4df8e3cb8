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

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import claim, emit, json_option, note
from tinyfin.cli.slots import as_dict, reached, terminal_options, text
from tinyfin.cli.trust import command_key_option, keys_option, public_key_option

if TYPE_CHECKING:
    from tinyfin.field.commands import Opcode
    from tinyfin.wire.client import Client

__all__ = ["command"]

_PACK_ID = re.compile("[0-9a-fA-F]{32}")
_pack_argument = click.argument("pack")
_maybe_pack_argument = click.argument("pack", required=False)


@dataclass(frozen=True)
class _Options:
    """What the options say: to whom a command goes, and who signs it."""

    target_name: str | None
    terminal: Path | None
    port: str | None
    key_path: Path | None
    keys_path: Path | None
    as_json: bool
    public_keys: tuple[Path, ...] = ()
    broadcast: bool = False
    counter: int | None = None
    out_path: Path | None = None

    def run(self, name: str, pack: str | None = None, value: int = 0) -> None:
        """Sign the command and have it done, or write it for all terminals."""
        from tinyfin.field.commands import Opcode
        from tinyfin.field.signers import command_signer
        from tinyfin.wire import field_frames

        opcode = Opcode[name.upper().replace("-", "_")]
        if self.broadcast:
            self._write(opcode, pack, value)
            return
        if self.counter is not None or self.out_path is not None:
            raise click.UsageError("--counter and --out go with --broadcast")
        signer, index = command_signer(self.key_path, self.keys_path)
        with reached(self.target_name, self.terminal, self.port) as session:
            session.client.connect()
            slots = field_frames.command(
                session.client,
                opcode,
                signer,
                key_index=index,
                pack=self._of_terminal(pack, session.client, opcode),
                value=value,
            )
        if opcode in (Opcode.ACTIVATE, Opcode.TRY, Opcode.REVERT):
            note("it takes effect at the next start: `tinyfin command reboot`")
        emit(as_dict(slots), self.as_json, text(slots))

    def _write(self, opcode: Opcode, pack: str | None, value: int) -> None:
        from tinyfin import files
        from tinyfin.field.commands import Command, sign_command
        from tinyfin.field.signers import command_signer

        if self.counter is None or self.out_path is None:
            raise click.UsageError("--broadcast needs --counter N and --out FILE")
        if self.port or self.target_name:
            raise click.UsageError("--broadcast writes a file: send it with `tinyfin command send`")
        claim(self.out_path)
        signer, index = command_signer(self.key_path, self.keys_path)
        wanted = bytes(16) if pack is None else self._ids(pack)[0]
        made = Command(opcode, index, counter=self.counter, pack=wanted, value=value)
        files.write(self.out_path, sign_command(made, signer))
        facts = {"file": str(self.out_path), "opcode": opcode.words, "counter": self.counter}
        if pack is not None:
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

    def _of_terminal(self, pack: str | None, client: Client, opcode: Opcode) -> bytes:
        """Which of the ids of PACK the terminal has; without PACK, that of the pack on trial."""
        from tinyfin.errors import TargetError
        from tinyfin.field.commands import PACK_OPCODES
        from tinyfin.wire import slot_frames

        if opcode not in PACK_OPCODES:
            return bytes(16)
        tag = slot_frames.info(client).other_tag
        ids = [bytes.fromhex(client.hello.pack_id)] if pack is None else self._ids(pack)
        found = next((one for one in ids if one.hex().startswith(tag)), None)
        if found is None and pack is None:
            raise TargetError(
                f"{client.link.name}: the pack on trial does not run, so name it: "
                f"`tinyfin command {opcode.words} PACK`"
            )
        return found or ids[0]


def _with_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The options of every command to a terminal, handed over as one."""
    taken = ("target_name", "terminal", "port", "key_path", "keys_path", "as_json")
    more = ("public_keys", "broadcast", "counter", "out_path")

    @functools.wraps(verb)
    def given(**all_: Any) -> None:
        options = _Options(**{name: all_.pop(name) for name in (*taken, *more) if name in all_})
        verb(options=options, **all_)

    for option in (json_option, boards_option, keys_option, command_key_option, terminal_options):
        given = option(given)
    return given


def _to_all(verb: Callable[..., None]) -> Callable[..., None]:
    """The options with which a command goes to all terminals."""
    for option in (
        click.option(
            "--out",
            "out_path",
            type=click.Path(path_type=Path, dir_okay=False),
            help="With --broadcast: the command, a .tfcommand file.",
        ),
        click.option(
            "--counter",
            type=click.IntRange(1, 2**32 - 1),
            help="With --broadcast: higher than that of every broadcast before.",
        ),
        click.option(
            "--broadcast", is_flag=True, help="For all terminals: write it to a file instead."
        ),
    ):
        verb = option(verb)
    return verb


@click.group()
def command() -> None:
    """Tell a terminal in service what to do; it obeys what a command key has signed.

    PACK is a run folder, a .tfpack, or the 32 digits of a pack id. A command to one terminal is
    made for its next journal entry, and done once. `activate`, `try`, `abort` and `raise-floor`
    can be written for all terminals, too (--broadcast); then PACK means the file itself, in its
    layout.
    """


@command.command("activate")
@_pack_argument
@public_key_option
@_to_all
@_with_options
def activate(options: _Options, pack: str) -> None:
    """Use PACK, which is staged, from the next start on.

    A pack that was released to replace the one that runs scores in its shadow first; any other
    goes on trial.
    """
    options.run("activate", pack)


@command.command("try")
@_pack_argument
@public_key_option
@_to_all
@_with_options
def try_(options: _Options, pack: str) -> None:
    """Start the trial of PACK at the next start, without a shadow or with no more of it."""
    options.run("try", pack)


@command.command("confirm")
@_maybe_pack_argument
@public_key_option
@_with_options
def confirm(options: _Options, pack: str | None) -> None:
    """Keep PACK, which is on trial; the floor rises to its security counter."""
    options.run("confirm", pack)


@command.command("revert")
@_maybe_pack_argument
@public_key_option
@_with_options
def revert(options: _Options, pack: str | None) -> None:
    """Go back from PACK, which is on trial, to the pack before it, at the next start."""
    options.run("revert", pack)


@command.command("abort")
@_pack_argument
@public_key_option
@_to_all
@_with_options
def abort(options: _Options, pack: str) -> None:
    """Forget PACK, which is being loaded, staged or in shadow."""
    options.run("abort", pack)


@command.command("stage")
@_pack_argument
@public_key_option
@_with_options
def stage(options: _Options, pack: str) -> None:
    """Let PACK be installed although it was given up before, and forget today's installs."""
    options.run("stage", pack)


@command.command("raise-floor")
@click.argument("counter_value", metavar="SECURITY_COUNTER", type=click.IntRange(1, 2**32 - 1))
@_to_all
@_with_options
def raise_floor(options: _Options, counter_value: int) -> None:
    """Let no pack with a lower SECURITY_COUNTER run again; at most that of the pack that runs."""
    options.run("raise-floor", value=counter_value)


@command.command("erase-card")
@click.argument("token")
@_with_options
def erase_card(options: _Options, token: str) -> None:
    """Forget the card of TOKEN, 64 bits in hexadecimal, in memory and flash."""
    from tinyfin.hil.state_image import parse_token

    options.run("erase-card", value=parse_token(token))


@command.command("set-time")
@click.argument("time")
@_with_options
def set_time(options: _Options, time: str) -> None:
    """Set the clock to TIME: seconds since 2000-01-01, ISO 8601, or `now` (UTC).

    Not to a day before the newest one of the journal.
    """
    options.run("set-time", value=_seconds(time))


@command.command("reboot")
@_with_options
def reboot(options: _Options) -> None:
    """Restart the terminal."""
    options.run("reboot")


@command.command("erase-state")
@_with_options
def erase_state(options: _Options) -> None:
    """Forget all that the terminal has learned."""
    options.run("erase-state")


@command.command("send")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@terminal_options
@boards_option
@json_option
def send(
    file: Path, target_name: str | None, terminal: Path | None, port: str | None, as_json: bool
) -> None:
    """Send FILE, a command to all terminals, to one of them. It does it once."""
    from tinyfin.errors import InputError
    from tinyfin.field.commands import parse_command
    from tinyfin.wire import field_frames

    data = file.read_bytes()
    made = parse_command(data, file)
    if not made.is_broadcast:
        raise InputError(f"{file}: is for one terminal; make one with --broadcast")
    with reached(target_name, terminal, port) as session:
        session.client.connect()
        slots = field_frames.broadcast(session.client, made, data)
    emit(as_dict(slots), as_json, text(slots))


def _seconds(time: str) -> int:
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
