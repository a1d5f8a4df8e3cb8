# SPDX-License-Identifier: Apache-2.0
"""Reaches a terminal: in the emulator, in a process, or whatever answers at a port.

Each way gives a :class:`Session`, whose client has a link that can be opened again and, where there
is a means, reset: all that ``chaos`` and ``on_reboot`` of a replay need.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyfin.hil.links.throttle import LineLink
from tinyfin.hil.rigs.lease import Lease
from tinyfin.hil.rigs.ports import names_at
from tinyfin.pack.trust import keys_beside
from tinyfin.targets import build as building
from tinyfin.targets import catalogue, flash
from tinyfin.targets.catalogue import Target
from tinyfin.targets.emulate import boot
from tinyfin.wire.client import Client
from tinyfin.wire.links import Link, ProcessLink, TcpLink
from tinyfin.wire.serial_link import SerialLink, open_link

__all__ = ["HOST", "Session", "at_link", "at_port", "emulated", "image_of", "in_process", "reach"]

HOST = "host"
"""The target that is no target: the terminal application, compiled for this machine."""


@dataclass(frozen=True)
class Session:
    """A client on its way to a terminal, and what is known of the target behind it."""

    client: Client
    target: str
    instructions: Callable[[int], int] | None = None
    """Ticks to guest instructions, where the target counts them."""
    executed: Callable[[], int] | None = None
    """All guest instructions so far, where only their sum is known."""
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    baud: int | None = None
    """Speed of the serial line, where there is one."""


def image_of(run: Path, target: Target, keys: Sequence[bytes] | None = None) -> Path:
    """The run's image for an emulated target: the one that was flashed or built, else a new one.

    keys: public keys that a new one trusts; the run's own if None. Raises ToolError, BudgetError
    as the build does.
    """
    image = flash.flashed_image(run, target)
    if image is None:
        keys = keys_beside(run) if keys is None else keys
        result = building.build(target, pack=flash.target_pack(run, target, keys), keys=keys)
        image = flash.store_image(result, flash.run_folder(run))
    return image


@contextlib.contextmanager
def reach(
    run: Path,
    target_name: str,
    *,
    keys: Sequence[bytes] | None = None,
    icount: bool = True,
    baud: int | None = None,
    emulator: str | None = None,
) -> Iterator[Session]:
    """The run's firmware on an emulated target, or on this machine (``host``). Not yet connected.

    emulator: one of :data:`tinyfin.targets.catalogue.EMULATORS`.
    baud: speed of a serial line in front of ``host``; None is a pipe.
    Raises ConfigError for an unknown target, TargetError for one that cannot be emulated, and what
    building raises.
    """
    if target_name == HOST:
        keys = keys_beside(run) if keys is None else keys
        with in_process(flash.run_pack(run).read_bytes(), keys=keys, baud=baud) as session:
            yield session
        return
    target = catalogue.get(target_name)
    image = image_of(run, target, keys)
    with emulated(target, image, icount=icount, emulator=emulator) as session:
        yield session


@contextlib.contextmanager
def emulated(
    target: Target | str, image: Path, *, icount: bool = True, emulator: str | None = None
) -> Iterator[Session]:
    """Boot an image in the emulator; it ends with the context. Not yet connected."""
    chosen = catalogue.get(target) if isinstance(target, str) else target
    sizes: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        sizes = json.loads((image.parent / "image.json").read_text(encoding="utf-8"))
    with boot(chosen, image, icount=icount, emulator=emulator) as running:
        link = TcpLink(*running.address, restart=running.restart)
        spec = chosen.emulator if running.icount else None
        with at_link(link, chosen.name) as session:
            yield Session(
                session.client,
                chosen.name,
                spec.instructions if spec else None,
                getattr(running, "executed", None),
                sizes.get("flash_bytes"),
                sizes.get("ram_bytes"),
            )


@contextlib.contextmanager
def in_process(
    pack: bytes, *, keys: Sequence[bytes] = (), program: Path | None = None, baud: int | None = None
) -> Iterator[Session]:
    """The terminal application compiled for this machine, in a process. Not yet connected.

    program: one that :func:`tinyfin.hil.links.host_process.build_host_terminal` has made; None
        builds one.
    baud: speed of a serial line (a PTY) between the two; None is a pipe, as fast as it goes.
    """
    from tinyfin.hil.links.host_process import build_host_terminal

    command = [str(program or build_host_terminal(pack, keys=keys))]
    link: Link = ProcessLink(command) if baud is None else LineLink(command, baud)
    with at_link(link, HOST) as session:
        yield session if baud is None else replace(session, baud=baud)


@contextlib.contextmanager
def at_port(url: str, *, baud: int = 115200) -> Iterator[Session]:
    """Talk to what answers at a serial port or URL. Not yet connected.

    It is leased meanwhile: no job of a rig uses it, and no other command.
    """
    with Lease(names_at(url), _what()):
        link = open_link(url, baud=baud)
        with at_link(link, url) as session:
            yield replace(session, baud=baud) if isinstance(link, SerialLink) else session


def _what() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])


@contextlib.contextmanager
def at_link(link: Link, target: str = "") -> Iterator[Session]:
    """Talk over a link that is open; it is closed with the context. Not yet connected."""
    client = Client(link)
    try:
        yield Session(client, target or link.name)
    finally:
        client.close()
