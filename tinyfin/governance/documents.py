# SPDX-License-Identifier: Apache-2.0
"""Model inventory, change log, roles and maps of evidence from a registry's log."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationError

from tinyfin.config.toml import read_toml
from tinyfin.documents import Document, Facts, first_fault
from tinyfin.errors import InputError
from tinyfin.fleet import requests
from tinyfin.registry.events import KINDS
from tinyfin.registry.export import RegistryExport, export
from tinyfin.registry.registry import Registry
from tinyfin.registry.state import Mark
from tinyfin.rollout import registered
from tinyfin.text import one_line

__all__ = ["Governance", "Settings", "build", "pages", "read_settings"]

_DECLARED = (requests.ASKED, requests.ANSWERED, registered.APPROVED, *registered.SIGNED.values())
_BEHIND = ("policy", "revoked", *_DECLARED)
_SIGNED = (*(kind for kind in KINDS if kind not in ("opened", *_BEHIND)), *_BEHIND)
"""Kinds of events that a person may sign: of the registry, of requests, of campaigns."""
_GAP = "**gap**"


class Stated(Facts):
    """What only people know about a model. Empty: nobody has said it."""

    purpose: str = ""
    materiality_tier: str = ""
    owner: str = ""
    limits: str = ""
    monitoring: str = ""


class Settings(Facts):
    """A settings file: what people state, by model id."""

    models: dict[str, Stated] = Field(default_factory=dict)


class Reference(Facts):
    """An event of the registry's log."""

    number: int
    sha256: str
    by: str
    time: str


class Change(Reference):
    """What an event changed. ``pack`` is None where it is about none."""

    kind: str
    key: str
    pack: str | None


class Service(Facts):
    """Where a pack is in service."""

    stage: str
    fleet: str
    wave: int | None
    since: Reference


class Model(Facts):
    """A pack of the inventory."""

    pack: str
    model_id: str
    family: str
    standing: str
    stated: Stated
    validations: list[Reference]
    approvals: list[Reference]
    released: Reference | None
    files: list[str]
    """Names of the files that are kept with the pack."""
    service: list[Service]


class Role(Facts):
    """What a person may sign."""

    name: str
    key: str
    revoked: bool
    signs: list[str]


class Row(Facts):
    """A clause and its evidence; without any it is a gap."""

    clause: str
    subject: str
    events: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)


class Evidence(Row):
    """A row with what was found."""

    found: list[str]
    """``event NUMBER:SHA256`` or ``file NAME of pack PACK (DIGEST)``."""


class Map(Facts):
    """The clauses of a standard."""

    name: str
    rows: list[Evidence]


class Governance(Document):
    """The file: the facts of all pages."""

    NAME: ClassVar[str] = "governance.json"

    at: str | None
    """The time that was asked for; None for the newest state."""
    head: str
    """NUMBER:HASH of the newest event that was read."""
    models: list[Model]
    changes: list[Change]
    roles: list[Role]
    maps: list[Map]


def read_settings(path: Path) -> Settings:
    """A settings file. Raises InputError for unknown keys and for what is no TOML."""
    try:
        return Settings.model_validate(read_toml(path))
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from error


def build(registry: Registry, until: str | None, settings: Settings) -> Governance:
    """The facts at a time, as :func:`~tinyfin.registry.registry.moment_text` writes it.

    Raises InputError before the registry's first event and for settings of a model that it does
    not hold, MismatchError when its log or content is not what was recorded.
    """
    held = export(registry, until)
    unknown = sorted(set(settings.models) - {pack.config.model_id for pack in held.packs})
    if unknown:
        raise InputError(
            f"settings: models.{unknown[0]}: the registry holds no such model; give a model id as "
            "the inventory lists it"
        )
    return Governance(
        at=held.at,
        head=held.head,
        models=_models(held, settings),
        changes=[
            Change(
                number=event.number,
                sha256=event.digest,
                by=event.actor.name,
                time=event.time,
                kind=event.kind,
                key=event.actor.key,
                pack=event.subject.pack if event.subject else None,
            )
            for event in held.events
        ],
        roles=[
            Role(
                name=person.name,
                key=person.key_id,
                revoked=person.key_id in held.revoked,
                signs=[kind for kind in _SIGNED if person.may_sign(kind)],
            )
            for person in held.policy.persons
        ],
        maps=_maps(held),
    )


def _models(held: RegistryExport, settings: Settings) -> list[Model]:
    hashes = {event.number: event.digest for event in held.events}

    def reference(mark: Mark) -> Reference:
        return Reference(
            number=mark.number, sha256=hashes[mark.number], by=mark.name, time=mark.time
        )

    return [
        Model(
            pack=pack.pack,
            model_id=pack.config.model_id,
            family=pack.config.family,
            standing=pack.standing,
            stated=settings.models.get(pack.config.model_id, Stated()),
            validations=[reference(mark) for mark in pack.validations],
            approvals=[reference(mark) for mark in pack.approvals],
            released=reference(pack.released) if pack.released else None,
            files=[file.name for file in pack.files],
            service=[
                Service(
                    stage=place.stage,
                    fleet=place.fleet,
                    wave=place.wave,
                    since=reference(place.since),
                )
                for place in held.places
                if place.pack == pack.pack
            ],
        )
        for pack in held.packs
    ]


def _maps(held: RegistryExport) -> list[Map]:
    text = files("tinyfin.governance").joinpath("maps.toml").read_text(encoding="utf-8")
    return [
        Map(
            name=one["name"], rows=[_evidence(Row.model_validate(row), held) for row in one["rows"]]
        )
        for one in tomllib.loads(text)["map"]
    ]


def _evidence(row: Row, held: RegistryExport) -> Evidence:
    found = [
        f"event {event.number}:{event.digest}" for event in held.events if event.kind in row.events
    ]
    found += [
        f"file {file.name} of pack {pack.pack} ({file.digest})"
        for pack in held.packs
        for file in pack.files
        if file.name in row.files
    ]
    return Evidence(**row.model_dump(), found=found)


def pages(facts: Governance) -> dict[str, str]:
    """Markdown by file name."""
    command = "tinyfin registry log --json"
    head = (
        "A draft for the person who signs it; no legal advice. The log up to event "
        f"`{facts.head}`; `{command}` has its events."
    )
    made = {
        "inventory.md": ("Model inventory", _inventory(facts)),
        "changes.md": ("Change log", _changes(facts)),
        "roles.md": ("Roles", _roles(facts)),
        "maps.md": ("Maps of evidence", _map_lines(facts)),
    }
    return {
        name: "\n".join([f"# {title}", "", head, "", *lines, ""])
        for name, (title, lines) in made.items()
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def _cell(text: str) -> str:
    """Text of others, which must not become a column, a link or HTML."""
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\")
    for mark in "|[]`*_":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _said(one: Reference) -> str:
    return f"{_cell(one.by)}, {one.time} (event {one.number}:`{one.sha256[:12]}`)"


def _inventory(facts: Governance) -> list[str]:
    lines: list[str] = []
    for model in facts.models:
        places = [
            f"{_cell(place.stage)}{f' of {_cell(place.fleet)}' if place.fleet else ''}"
            f"{f', wave {place.wave}' if place.wave is not None else ''}, since "
            f"{_said(place.since)}"
            for place in model.service
        ]
        rows = [
            ("model", _cell(model.model_id)),
            ("family", _cell(model.family)),
            ("standing", model.standing),
            *((key.replace("_", " "), _cell(str(text))) for key, text in model.stated),
            ("validated by", "; ".join(map(_said, model.validations))),
            ("approved by", "; ".join(map(_said, model.approvals))),
            ("released by", _said(model.released) if model.released else ""),
            ("files kept", ", ".join(map(_cell, model.files))),
            ("in service", "; ".join(places)),
        ]
        rows = [(key, text or _GAP) for key, text in rows]
        lines += [f"## Pack {model.pack}", "", *_table(("what", "fact"), rows), ""]
    return lines[:-1] or ["The registry holds no pack."]


def _changes(facts: Governance) -> list[str]:
    return _table(
        ("event", "time", "what", "pack", "by", "key", "sha256"),
        (
            (
                str(event.number),
                event.time,
                event.kind,
                event.pack or "",
                _cell(event.by),
                event.key,
                f"`{event.sha256}`",
            )
            for event in facts.changes
        ),
    )


def _roles(facts: Governance) -> list[str]:
    return _table(
        ("person", "key", *_SIGNED),
        (
            (
                _cell(role.name) + (" (revoked)" if role.revoked else ""),
                role.key,
                *("yes" if kind in role.signs and not role.revoked else "no" for kind in _SIGNED),
            )
            for role in facts.roles
        ),
    )


def _map_lines(facts: Governance) -> list[str]:
    lines: list[str] = []
    for one in facts.maps:
        rows = [
            (row.clause, row.subject, "<br>".join(map(_cell, row.found)) or _GAP)
            for row in one.rows
        ]
        lines += [f"## {one.name}", "", *_table(("clause", "subject", "evidence"), rows), ""]
    return lines[:-1]
