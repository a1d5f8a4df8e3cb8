# SPDX-License-Identifier: Apache-2.0
"""``tinyfin state``: what a terminal remembers, as an image: shown, erased, made, moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tinyfin.cli.output import emit, json_option, note

__all__ = ["command"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_OUT = click.Path(path_type=Path, dir_okay=False)
_pack_option = click.option(
    "--pack", "pack_path", required=True, type=click.Path(path_type=Path, exists=True),
    help="The pack that the image belongs to: a .tfpack or a run folder.",
)  # fmt: skip
_key_option = click.option(
    "--key", "key_path", type=_FILE,
    help="The key that signed the pack; the development key, or the one that the run remembers, "
    "if not given.",
)  # fmt: skip
_port_option = click.option(
    "--port", required=True, help="Serial port, socket://HOST:PORT or exec:PROGRAM of a terminal."
)
_baud_option = click.option(
    "--baud", default=115200, show_default=True, help="Speed of a serial port."
)


@click.group("state")
def command() -> None:
    """Show, erase, make and move what a terminal remembers.

    A state image belongs to one pack: another pack refuses it by name, and nothing is changed.
    """


@command.command("show")
@click.argument("image", type=_FILE)
@_pack_option
@_key_option
@json_option
def show(image: Path, pack_path: Path, key_path: Path | None, as_json: bool) -> None:
    """Counters of IMAGE, and how full its tables are."""
    from tinyfin.data.transactions import format_time
    from tinyfin.twin.state import describe_state

    facts = describe_state(image.read_bytes(), _pack(pack_path), _keys(key_path, pack_path))
    first = facts["first_commit_s"]
    facts["last_time"] = format_time(facts["last_t_s"])
    facts["first_commit"] = None if first is None else format_time(first)
    emit(facts, as_json, _text(facts))


@command.command("erase")
@click.argument("image", type=_FILE)
@_pack_option
@_key_option
@click.option("--token", required=True, help="The card's 64-bit token, hexadecimal.")
@click.option("--out", required=True, type=_OUT, help="The image without the card.")
@json_option
def erase(
    image: Path, pack_path: Path, key_path: Path | None, token: str, out: Path, as_json: bool
) -> None:
    """Forget one card, as its holder may ask: its slot, its labels, its name on what is pending."""
    from tinyfin.twin.state import erase_card, parse_token

    value = parse_token(token)
    keys = _keys(key_path, pack_path)
    data, found = erase_card(image.read_bytes(), _pack(pack_path), value, keys)
    out.write_bytes(data)
    was = "the card was not in the image"
    if any(found.values()):
        was = f"erased {found['slots']} slot and {found['pending']} pending transactions"
    emit({"out": str(out), "erased": found}, as_json, f"{was}: {out}")


@command.command("export")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("data", nargs=-1, required=True, type=_FILE)
@click.option("--terminal", required=True, help="Id of the terminal, as in DATA.")
@click.option("--config", "config_path", type=_FILE,
              help="tinyfin.toml with the column mapping; the run's own if not given.")
@_key_option
@click.option("--out", required=True, type=_OUT, help="The image.")
@json_option
def export(
    run: Path,
    data: tuple[Path, ...],
    terminal: str,
    config_path: Path | None,
    key_path: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """The state of one terminal after DATA went through the pack of RUN (a folder or .tfpack)."""
    from tinyfin import config
    from tinyfin.data.readers import read

    own = run / "config.toml"
    if config_path is None and run.is_dir() and own.is_file():
        config_path = own
    settings = config.load(config_path)
    tx = read(list(data), settings, progress=note)
    keys = _keys(key_path, run)
    twin, events = _replayed(tx, terminal, settings.data.notices, _pack(run), keys)
    image = twin.export_state(0)
    out.write_bytes(image)
    result = {
        "out": str(out), "terminal": terminal, "bytes": len(image), "events": events,
        "stats": twin.stats(0),
    }  # fmt: skip
    emit(result, as_json, f"{events} events of terminal {terminal}, {len(image)} bytes: {out}")


@command.command("read")
@_port_option
@_baud_option
@click.option("--out", required=True, type=_OUT, help="The image.")
@json_option
def read_(port: str, baud: int, out: Path, as_json: bool) -> None:
    """Read the state of a terminal."""
    from tinyfin.hil import session

    with session.at_port(port, baud=baud) as reached:
        reached.client.connect()
        image = reached.client.read_state()
    out.write_bytes(image)
    emit({"out": str(out), "bytes": len(image)}, as_json, f"{len(image)} bytes: {out}")


@command.command("write")
@click.argument("image", type=_FILE)
@_port_option
@_baud_option
@json_option
def write(image: Path, port: str, baud: int, as_json: bool) -> None:
    """Put IMAGE on a terminal that runs its pack; the terminal's own state is gone."""
    from tinyfin.errors import InputError
    from tinyfin.hil import session

    data = image.read_bytes()
    with session.at_port(port, baud=baud) as reached:
        hello = reached.client.connect()
        if len(data) != hello.state_bytes:
            raise InputError(
                f"{image}: has {len(data)} bytes, the terminal's state {hello.state_bytes}; "
                "it is an image of another pack"
            )
        reached.client.write_state(data)
    emit({"bytes": len(data)}, as_json, f"{len(data)} bytes written")


def _replayed(
    tx: Any, terminal: str, notices: Any, pack: bytes, keys: tuple[bytes, ...]
) -> tuple[Any, int]:
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


def _keys(path: Path | None, run: Path) -> tuple[bytes, ...]:
    from tinyfin.pack.signing import load_key
    from tinyfin.pack.trust import keys_beside

    return keys_beside(run) if path is None else (load_key(path).public,)


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
