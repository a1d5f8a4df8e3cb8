# SPDX-License-Identifier: Apache-2.0
"""``tinyfin state``: what a terminal remembers, as an image: shown, erased, made, moved."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin import files
from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import (
    FILE,
    DataFile,
    Group,
    as_one,
    claim,
    emit,
    file_option,
    json_option,
    note,
)
from tinyfin.cli.terminal import Terminal
from tinyfin.cli.trust import seal_key_option

if TYPE_CHECKING:
    from tinyfin.data.events import Notices
    from tinyfin.data.transactions import Transactions
    from tinyfin.twin import Twin
    from tinyfin.wire.client import Client

__all__ = ["command"]

_IMAGE_HEADER = 64

_OUT = click.Path(path_type=Path, dir_okay=False)
_pack_option = click.option(
    "--pack",
    "boot",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="The pack that the image belongs to: a .tfpack or a run folder.",
)
_maybe_pack_option = click.option(
    "--pack",
    "boot",
    type=click.Path(path_type=Path, exists=True),
    help="A .tfpack or a run folder: what --target boots.",
)
_key_option = file_option(
    "--key",
    "key",
    "The key that signed the pack; the development key, or the one that the run remembers, "
    "if not given.",
)


def _terminal_options(pack_option: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The options that name a terminal, or the pack of an image, given to a command as one."""
    return as_one(
        "terminal",
        functools.partial(Terminal, boot_option="--pack"),
        pack_option,
        click.option(
            "--port", help="Serial port, socket://HOST:PORT or exec:PROGRAM of a terminal."
        ),
        click.option(
            "--target",
            help="Boot the pack of --pack on this emulated target, cold, for this command.",
        ),
        click.option("--baud", default=115200, show_default=True, help="Speed of a serial port."),
        _key_option,
        boards_option,
    )


@click.group(cls=Group)
def command() -> None:
    """Show, erase, make and move what a terminal remembers.

    A state image belongs to one pack: another pack refuses it by name, and nothing is changed. With
    --seal-key an image is sealed: what comes in may be, and what is written is.
    """


@command.command("show")
@click.argument("image", type=FILE)
@_pack_option
@_key_option
@seal_key_option
@json_option
def show(image: Path, boot: Path, key: Path | None, seal_key: Path | None, as_json: bool) -> None:
    """Counters of IMAGE, and how full its tables are."""
    from tinyfin.data.transactions import format_time
    from tinyfin.hil.state_image import describe_state

    data = _image(image, seal_key)
    found = describe_state(data, _pack(boot), _keys(key, boot))
    first = found["first_commit_s"]
    facts = {
        **found,
        "last_time": format_time(found["last_t_s"]),
        "first_commit": None if first is None else format_time(first),
    }
    emit(facts, as_json, _text(facts))


@command.command("erase")
@click.argument("image", type=FILE, required=False)
@_terminal_options(_pack_option)
@click.option("--token", required=True, help="The card's 64-bit token, hexadecimal.")
@click.option("--out", type=_OUT, help="The image without the card; needed for IMAGE.")
@seal_key_option
@json_option
def erase(
    image: Path | None,
    terminal: Terminal,
    token: str,
    out: Path | None,
    seal_key: Path | None,
    as_json: bool,
) -> None:
    """Forget one card, as its holder may ask: its slot, its labels, its name on what is pending.

    In IMAGE, or in the terminal at --port: its state is read, the card erased, the rest written
    back and compared. Keep transactions away from the terminal meanwhile.
    """
    from tinyfin.hil.state_image import erase_card, parse_token

    _one_of(image, terminal)
    if image is not None and out is None:
        raise click.UsageError("say where the image without the card goes: --out FILE")
    claim(out)
    value = parse_token(token)
    assert terminal.boot is not None  # --pack is required here
    keys, pack = terminal.keys, _pack(terminal.boot)
    if image is not None:
        data, found = erase_card(_image(image, seal_key), pack, value, keys)
    else:
        with terminal.connected() as client:
            data, found = erase_card(client.read_state(), pack, value, keys)
            _put(client, data)
    if out is not None:
        _save(out, data, seal_key)
    was = "the card was not in the state"
    if any(found.values()):
        was = f"erased {found['slots']} slot and {found['pending']} pending transactions"
    where = str(out) if out is not None else terminal.named
    facts = {"out": str(out) if out else None, "terminal": terminal.named, "erased": found}
    emit(facts, as_json, f"{was}: {where}")


@command.command("export")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("data", nargs=-1, required=True, type=DataFile(Path))
@click.option("--terminal", required=True, help="Id of the terminal, as in DATA.")
@file_option(
    "--config", "config_path", "tinyfin.toml with the column mapping; the run's own if not given."
)
@_key_option
@click.option("--out", required=True, type=_OUT, help="The image.")
@seal_key_option
@json_option
def export(
    run: Path,
    data: tuple[Path, ...],
    terminal: str,
    config_path: Path | None,
    key: Path | None,
    out: Path,
    seal_key: Path | None,
    as_json: bool,
) -> None:
    """The state of one terminal after DATA went through the pack of RUN (a folder or .tfpack)."""
    from tinyfin import config
    from tinyfin.data.readers import read
    from tinyfin.hil.state_image import describe_state

    claim(out)
    own = run / "config.toml"
    if config_path is None and run.is_dir() and own.is_file():
        config_path = own
    settings = config.load(config_path)
    tx = read(list(data), settings, labels=False, progress=note)
    keys = _keys(key, run)
    twin, events = _replayed(tx, terminal, settings.data.notices, _pack(run), keys)
    image = twin.export_state(0)
    _save(out, image, seal_key)
    labels = describe_state(image, _pack(run), keys)["occupancy"]["terminal_labels"]
    if labels["capacity"] and not labels["used"]:
        note(
            f"WARNING: no label of terminal {terminal} is known by the end of DATA: features on "
            "known labels begin without any"
        )
    result = {
        "out": str(out),
        "terminal": terminal,
        "bytes": len(image),
        "events": events,
        "known_labels": labels["used"],
        "stats": twin.stats(0),
    }
    emit(result, as_json, f"{events} events of terminal {terminal}, {len(image)} bytes: {out}")


@command.command("read")
@_terminal_options(_maybe_pack_option)
@click.option("--out", required=True, type=_OUT, help="The image.")
@seal_key_option
@click.option(
    "--seal-id",
    help="In place of --seal-key, where that key is not: its id, 16 hexadecimal digits.",
)
@json_option
def read_(
    terminal: Terminal, out: Path, seal_key: Path | None, seal_id: str | None, as_json: bool
) -> None:
    """Read the state of a terminal.

    With --seal-key or --seal-id the terminal seals it: nothing on the line is readable. A release
    that was built with --sealed gives no other image.
    """
    claim(out)
    if seal_key is not None and seal_id is not None:
        raise click.UsageError("give either --seal-key or --seal-id")
    if seal_key is None and seal_id is None:
        with terminal.connected() as client:
            image = _read(client)
        files.write(out, image)
        emit({"out": str(out), "bytes": len(image)}, as_json, f"{len(image)} bytes: {out}")
        return
    from tinyfin.field import sealing
    from tinyfin.wire.sealed_frames import read_sealed_state

    key = None if seal_key is None else sealing.load_sealing_key(seal_key)
    named = sealing.key_id(key) if key is not None else sealing.parse_key_id(seal_id or "")
    with terminal.connected() as client:
        sealed = read_sealed_state(client, named)
        if key is not None:
            sealing.open_sealed(sealed, key, client.link.name)
    files.write(out, sealed.encode())
    size = len(sealed.content)
    facts = {"out": str(out), "bytes": size, "sealed_by": named.hex()}
    emit(facts, as_json, f"{size} bytes, sealed by key {named.hex()}: {out}")


@command.command("write")
@click.argument("image", type=FILE)
@_terminal_options(_maybe_pack_option)
@seal_key_option
@json_option
def write(image: Path, terminal: Terminal, seal_key: Path | None, as_json: bool) -> None:
    """Put IMAGE on a terminal that runs its pack, and compare; its own state is gone.

    A sealed image is opened here, and goes over the line as it is.
    """
    from tinyfin.errors import InputError

    data = _image(image, seal_key)
    with terminal.connected() as client:
        hello = client.hello
        if len(data) != hello.state_bytes:
            raise InputError(
                f"{image}: has {len(data)} bytes, the terminal's state {hello.state_bytes}; "
                "it is an image of another pack"
            )
        _put(client, data)
        digest = client.checkpoint().state_digest
    emit(
        {"bytes": len(data), "state_digest": f"{digest:08x}"},
        as_json,
        f"{len(data)} bytes written, digest {digest:08x}",
    )


@command.command("digest")
@click.argument("image", type=FILE, required=False)
@_terminal_options(_maybe_pack_option)
@seal_key_option
@json_option
def digest(image: Path | None, terminal: Terminal, seal_key: Path | None, as_json: bool) -> None:
    """The digest of IMAGE, or of a terminal's state with its counters.

    It is the same wherever the state is the same: engine, twin, wire.
    """
    import zlib

    _one_of(image, terminal)
    facts: dict[str, Any] = {}
    if image is not None:
        value = zlib.crc32(_image(image, seal_key)[_IMAGE_HEADER:])
    else:
        with terminal.connected() as client:
            value = client.checkpoint().state_digest
            facts["stats"] = client.stats()
    facts = {"state_digest": f"{value:08x}", **facts}
    lines = [f"digest {value:08x}"]
    lines += [f"{name.replace('_', ' '):<20} {n:>8}" for name, n in facts.get("stats", {}).items()]
    emit(facts, as_json, "\n".join(lines))


def _one_of(image: Path | None, terminal: Terminal) -> None:
    if (image is None) == (terminal.named is None):
        raise click.UsageError("give either IMAGE or a terminal (--port, --target)")


def _read(client: Client) -> bytes:
    """The state of a terminal, as it is."""
    from tinyfin.errors import TargetError
    from tinyfin.wire.channel import NotOffered
    from tinyfin.wire.messages import Capability

    try:
        return client.read_state()
    except NotOffered as error:
        if not client.hello.capabilities & Capability.SEAL:
            raise
        raise TargetError(
            f"{client.link.name}: gives its state sealed alone (NOT_OFFERED): name a key of it "
            "with --seal-key or --seal-id"
        ) from error


def _image(path: Path, seal_key: Path | None) -> bytes:
    """The image in a file, opened when it is sealed."""
    from tinyfin.cli.sealing import contents
    from tinyfin.field.sealing import Kind

    return contents(path, seal_key, Kind.STATE)


def _save(path: Path, image: bytes, seal_key: Path | None) -> None:
    """Write an image, sealed when there is a key for it."""
    from tinyfin.field.sealing import load_sealing_key, seal_state

    if seal_key is not None:
        image = seal_state(image, load_sealing_key(seal_key)).encode()
    files.write(path, image)


def _put(client: Client, data: bytes) -> None:
    """Write a state, and see that it arrived."""
    from tinyfin.errors import MismatchError

    client.write_state(data)
    if client.read_state() != data:
        raise MismatchError(
            f"{client.link.name}: the state read back is not the one written; fields that live in "
            "RAM only are not in it, or transactions went on meanwhile: run the command again"
        )


def _replayed(
    tx: Transactions, terminal: str, notices: Notices, pack: bytes, keys: tuple[bytes, ...]
) -> tuple[Twin, int]:
    import difflib

    from tinyfin.data.events import event_stream
    from tinyfin.errors import InputError
    from tinyfin.twin import Twin

    if terminal not in tx.terminals:
        near = difflib.get_close_matches(terminal, tx.terminals, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {len(tx.terminals)} others"
        raise InputError(f"the data has no terminal {terminal!r}; {hint}")
    mine = tx.take(tx.terminal == tx.terminals.index(terminal))
    mine.terminal[:] = 0
    stream = event_stream(mine, notices)
    twin = Twin(pack, keys=keys)
    twin.run(mine, stream)
    return twin, len(stream)


def _pack(path: Path) -> bytes:
    from tinyfin.targets.flash import run_pack

    return run_pack(path).read_bytes()


def _keys(key: Path | None, run: Path) -> tuple[bytes, ...]:
    return Terminal(None, run, None, key=key).keys


def _text(facts: dict[str, Any]) -> str:
    lines = [
        f"{facts['bytes']} bytes, last event {facts['last_time']}, "
        f"first commit {facts['first_commit'] or 'not yet'}"
    ]
    for name, row in facts["occupancy"].items():
        if row["capacity"]:
            lines.append(f"{name.replace('_', ' '):<20} {row['used']:>8} of {row['capacity']}")
    lines += [f"{name.replace('_', ' '):<20} {n:>8}" for name, n in facts["stats"].items()]
    return "\n".join(lines)
