# SPDX-License-Identifier: Apache-2.0
"""A registry as one JSON document, for other tools: ``registry.json``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ValidationError

from tinyfin.documents import Document, Facts, first_fault
from tinyfin.errors import InputError, MismatchError
from tinyfin.registry.contents import PackFacts
from tinyfin.registry.events import Event
from tinyfin.registry.policy import Policy
from tinyfin.registry.registry import Registry
from tinyfin.registry.state import Entry, Mark, Place

__all__ = ["RegistryExport", "export", "exported_pack"]


class ExportedFile(Facts):
    """A file that is kept with a pack."""

    name: str
    media_type: str
    digest: str
    bytes: int


class ExportedPack(Entry):
    """A pack, what it says of itself and what is kept with it."""

    config: PackFacts
    files: list[ExportedFile]


class RegistryExport(Document):
    """The file: a registry as it was at a time."""

    NAME: ClassVar[str] = "registry.json"

    at: str | None
    """The time that was asked for; None for the newest state."""
    head: str
    """NUMBER:HASH of the newest event."""
    policy: Policy
    revoked: dict[str, Mark]
    """By key id."""
    packs: list[ExportedPack]
    places: list[Place]
    events: list[Event]


def export(registry: Registry, until: str | None = None) -> RegistryExport:
    """A registry at a time, now if None. Raises InputError before its first event, and
    MismatchError when the log is not valid or content was changed."""
    state = registry.state(until)
    if state.policy is None:
        raise InputError(f"{registry.path}: has no event up to {until}")
    return RegistryExport(
        at=until,
        head=f"{state.number}:{state.head}",
        policy=state.policy,
        revoked=state.revoked,
        packs=[exported_pack(registry, entry) for entry in state.entries.values()],
        places=list(state.places.values()),
        events=list(registry.events()[: state.number]),
    )


def exported_pack(registry: Registry, entry: Entry) -> ExportedPack:
    """A pack with what its manifest holds. Raises InputError, MismatchError for missing or changed
    content."""
    manifest = registry.store.manifest(entry.manifest)
    files = [
        ExportedFile(
            name=name, media_type=one["mediaType"], digest=one["digest"], bytes=one["size"]
        )
        for name, one in registry.store.layers(entry.manifest).items()
    ]
    try:
        config = PackFacts.model_validate_json(registry.store.read(manifest["config"]["digest"]))
    except ValidationError as error:
        raise MismatchError(f"{entry.manifest}: its config: {first_fault(error)}") from error
    held = {name: getattr(entry, name) for name in Entry.model_fields}
    return ExportedPack(**held, config=config, files=files)
