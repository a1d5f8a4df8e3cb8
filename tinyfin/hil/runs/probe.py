# SPDX-License-Identifier: Apache-2.0
"""Asks who is there, without flashing anything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Required, TypedDict

from tinyfin.errors import ConfigError, FailureKind, TinyfinError
from tinyfin.hil.failures import kind_of
from tinyfin.hil.links import session
from tinyfin.hil.rigs.access import reach
from tinyfin.hil.rigs.lease import Lease, holder
from tinyfin.hil.rigs.ports import lease_names
from tinyfin.hil.rigs.rigfile import Rig, TargetSpec, select
from tinyfin.hil.runs.target import hello_facts
from tinyfin.progress import say
from tinyfin.wire.client import Client
from tinyfin.wire.refusals import refused_pack

__all__ = ["Probed", "greet", "probe", "reached"]


class Probed(TypedDict, total=False):
    """A line of ``tinyfin hil list``."""

    name: Required[str]
    target: Required[str]
    hello: Required[dict[str, object] | None]
    off: Required[str | None]
    text: str
    holder: str
    port: str
    failure: str


def probe(rig: Rig, name: str, spec: TargetSpec, boot_s: float) -> Probed:
    """One target: where it is, who holds it, and what it says of itself."""
    row: Probed = {"name": name, "target": spec.target, "hello": None, "off": spec.off}
    if spec.is_emulated:
        row["text"] = f"emulated {spec.target}: boots when it is run"
        return row
    used_by = holder(lease_names(spec))
    if used_by is not None:
        row["holder"], row["text"] = used_by, f"in use by {used_by}"
        return row
    short = rig.deadlines.model_copy(update={"port_s": min(1.0, rig.deadlines.port_s)})
    way = reach(name, spec, short, boards=rig.boards)
    try:
        way.power()
        link = way.open()
        row["port"] = link.name
        with session.at_link(link) as found:
            hello = found.client.connect(boot_s)
        row["hello"] = hello_facts(hello)
        if hello.open_error:
            raise refused_pack(link.name, hello.open_error)
        row["text"] = f"{link.name}: {hello.target}, pack {hello.pack_id}, build {hello.build_id}"
        if hello.target != spec.target:
            row["text"] += f"; the rig file says {spec.target}"
            row["failure"] = str(FailureKind.FLASH)
    except TinyfinError as error:
        row["failure"], row["text"] = str(kind_of(error)), f"{kind_of(error)}: {error}"
    finally:
        way.close()
    return row


def greet(port: str, boot_s: float) -> dict[str, object]:
    """What the terminal at a port says of itself. Raises TargetError."""
    with session.at_port(port) as found:
        return hello_facts(found.client.connect(boot_s))


@contextlib.contextmanager
def reached(
    rig: Rig,
    run: Path | None,
    public_keys: Sequence[Path],
    *,
    name: str | None = None,
    port: str | None = None,
) -> Iterator[Client]:
    """A client of a terminal, not yet connected: at a port, of the rig, or on this machine.

    Raises ConfigError for an unknown target.
    """
    from tinyfin.pack.trust import trusted_keys

    if port is not None:
        with session.at_port(port) as found:
            yield found.client
        return
    if run is None:
        raise ConfigError("a run folder or a pack is needed; give --run")
    keys = trusted_keys(run, public_keys)
    if name is None:
        with session.reach(run, session.HOST, keys=keys) as found:
            yield found.client
        return
    (spec,) = select(rig, (name,)).values()
    lease = Lease(
        lease_names(spec), f"tinyfin hil playback on {name}", wait_s=rig.deadlines.lease_s, note=say
    )
    with lease:
        yield from _of_rig(rig, name, spec, run, keys)


def _of_rig(
    rig: Rig, name: str, spec: TargetSpec, run: Path, keys: Sequence[bytes]
) -> Iterator[Client]:
    way = reach(name, spec, rig.deadlines, boards=rig.boards)
    try:
        way.power()
        way.prepare(run, keys)
        client = Client(way.open())
        try:
            yield client
        finally:
            client.close()
    finally:
        way.close()
