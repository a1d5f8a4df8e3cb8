# SPDX-License-Identifier: Apache-2.0
"""Registries with a handful of keys, which stay the same from run to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support import packs
from tinyfin.pack.container import parse_pack
from tinyfin.pack.signing import Key, hash32, key_from_seed
from tinyfin.registry.contents import Files, PackFacts, added_detail, gather, pack_facts
from tinyfin.registry.events import Added, Event, Subject
from tinyfin.registry.log import Followed, next_event
from tinyfin.registry.policy import Person, Policy
from tinyfin.registry.registry import Registry

START_S = 1_793_000_000
"""2026-10-26T10:53:20Z."""
RELEASE = key_from_seed(hash32(b"release"))


@cache
def key(name: str) -> Key:
    """The key of a person."""
    return key_from_seed(hash32(name.encode()))


def key_id(name: str) -> str:
    return f"{key(name).key_id:08x}"


def policy(*names: str, **rules: object) -> Policy:
    """A policy for these persons."""
    persons = [Person(name=name, key=key(name).public.hex()) for name in names]
    return Policy.model_validate({"persons": persons, "pack_keys": [RELEASE.public.hex()], **rules})


def subject(number: int) -> Subject:
    """A pack that only a log knows."""
    return Subject(manifest=f"sha256:{number:064x}", pack=f"{number:032x}")


ADDED = {
    "development": False,
    "layouts": {},
    "parent": None,
    "security_counter": 0,
    "signed_by": f"{RELEASE.key_id:08x}",
}


class Written(Followed):
    """A log in memory, one hour from event to event."""

    def __init__(self, of: Policy | None = None) -> None:
        super().__init__()
        first = of or policy("a", "b", "c")
        self.event("opened", first.persons[0].name, policy=first.as_dict())

    def event(self, kind: str, by: str, about: Subject | None = None, **detail: object) -> Event:
        time_s = START_S + 3600 * self.state.number
        event = next_event(self.state, kind, about, detail, key(by), time_s)
        self.take(event)
        return event

    @property
    def lines(self) -> list[bytes]:
        return [event.line for event in self.events]

    @property
    def data(self) -> bytes:
        return b"".join(self.lines)


def whole_life(about: Subject | None = None) -> Written:
    """A pack from its addition to its halt: eight events."""
    log, pack = Written(), about or subject(7)
    log.event("added", "a", pack, **ADDED)
    log.event("validated", "b", pack, evidence=None)
    log.event("approved", "b", pack)
    log.event("approved", "c", pack, note="ünïcode \u0007")
    log.event("released", "b", pack)
    log.event("promoted", "b", pack, stage="pilot", fleet="", wave=1)
    log.event("halted", "c", pack, why="too many alerts")
    return log


@cache
def release_pack() -> bytes:
    """A pack that a release key has signed."""
    return packs.build(packs.small(), key=RELEASE)


@dataclass(frozen=True)
class Contents:
    """Files, the pack first, and what somebody says of it."""

    facts: PackFacts
    detail: Added
    files: Files


def said(files: Files, layouts: Mapping[str, str] | None = None) -> Contents:
    """What whoever is honest says."""
    facts = pack_facts(parse_pack(files[0][1], keys=[RELEASE.public]))
    return Contents(facts, added_detail(facts, dict(layouts or {})), files)


def contents(folder: Path, more: Mapping[str, bytes] | None = None) -> Contents:
    """What a run of the release pack has for a registry."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tfpack").write_bytes(release_pack())
    for name, data in (more or {}).items():
        (folder / name).write_bytes(data)
    return said(gather(folder))


def registry(folder: Path, of: Policy | None = None) -> Registry:
    """One with three persons, a, b and c, and no pack."""
    return Registry.create(folder, of or policy("a", "b", "c"), key("a"), now_s=START_S)


def with_pack(folder: Path, path: Path) -> Registry:
    """The same with a pack of the development key."""
    made = registry(folder, policy("a", "b", "c", development=True))
    made.add(gather(path), key("a"), now_s=START_S)
    return made


def key_file(path: Path, name: str) -> Path:
    """The key of a person, as a file."""
    path.write_text(f"person {hash32(name.encode()).hex()}\n")
    path.chmod(0o600)
    return path
