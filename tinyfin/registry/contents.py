# SPDX-License-Identifier: Apache-2.0
"""What goes into a registry with a pack: of a run, of its release, or of the pack alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tinyfin.documents import Facts, first_fault
from tinyfin.errors import InputError, PackError
from tinyfin.formats import LAYOUTS
from tinyfin.pack.container import Pack, parse_pack
from tinyfin.pack.layouts import is_repack, layout_file, name_of
from tinyfin.pack.trust import require_trusted, trusted_keys
from tinyfin.registry.events import Added
from tinyfin.registry.policy import Policy
from tinyfin.registry.store import PACK, media_type
from tinyfin.targets.flash import run_pack

__all__ = [
    "Files",
    "PackFacts",
    "added_detail",
    "described",
    "gather",
    "opened_in_service",
    "pack_facts",
    "pack_in_service",
]

Files = Sequence[tuple[str, bytes]]
"""Names and contents, a pack first."""
RELEASE = "release"
"""The folder of a run that `tinyfin release` writes to."""
OF_RELEASE = ("release.json", "release.html", "release.md")
OF_RUN = (
    "run.json",
    "config.toml",
    "metrics.json",
    "parity.json",
    "reference.json",
    "model.tflite",
    "evaluation.json",
    "evaluation.html",
    "MODEL_CARD.md",
    "DATA_CARD.md",
    "gate.toml",
)
"""Files that are kept where they are there."""


class PackFacts(Facts):
    """The config of a pack's manifest: what the pack says of itself."""

    pack_id: str
    sha256: str
    bytes: int
    model_id: str
    family: str
    schema_name: str
    features: list[str]
    layout: str
    format_version: int
    minimum_engine: str
    security_counter: int
    signed_by: str
    development: bool
    state_layout: str
    parent: str | None
    lineage: dict[str, Any]
    """LINE: hashes of data, configuration, network and weights among them."""


def gather(source: str | Path, more: Sequence[Path] = ()) -> Files:
    """A .tfpack file, or a run: the pack of its release if there is one, else the run's own; its
    layouts, and what the run says of it. ``more``: files that are kept, too. Raises InputError."""
    run = Path(source) if Path(source).is_dir() else None
    path = pack_in_service(source)
    near = [layout_file(path, layout) for layout in LAYOUTS]
    near += [path.with_name(name) for name in OF_RELEASE]
    near += [] if run is None else [run / name for name in OF_RUN]
    kept: dict[str, bytes] = {}
    for file in [path, *(file for file in near if file.is_file()), *more]:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}; check the path") from error
        if kept.setdefault(file.name, data) != data:
            raise InputError(f"{file}: there is another {file.name} already; rename it")
    return tuple(kept.items())


def pack_in_service(source: str | Path) -> Path:
    """A .tfpack file itself; of a run the pack of its release, its own without one. Raises
    InputError for a release that was refused."""
    path = Path(source)
    if not path.is_dir():
        return path
    released = path / RELEASE
    if not (released / "release.json").is_file():
        return path / "model.tfpack"
    if not (released / "model.tfpack").is_file():
        raise InputError(
            f"{released}: that release was refused, so it has no pack; see release.html, or name "
            "the pack itself"
        )
    return released / "model.tfpack"


def opened_in_service(source: str | Path, public_keys: Sequence[Path] = ()) -> Pack:
    """The pack of :func:`pack_in_service`, signed by one of these keys, or by the one that is
    remembered next to it if there are none. Raises InputError, PackError."""
    file = run_pack(pack_in_service(source))
    return require_trusted(file.read_bytes(), trusted_keys(file, public_keys), file)


def described(files: Files, policy: Policy) -> tuple[PackFacts, Added]:
    """What is said of files by the pack that stands first among them, and the detail of the event
    that adds it.

    Raises PackError unless a key of the policy has signed that pack, and every other pack among
    them is the same one in another layout.
    """
    names = [name for name, _ in files]
    for name in names:
        if Path(name).name != name or names.count(name) > 1:
            raise PackError(f"{name!r}: is not a file name, or is there twice")
    packs = [(name, data) for name, data in files if media_type(name) == PACK]
    if not packs or packs[0][0] != names[0]:
        raise PackError("a pack comes first, in a file whose name ends in .tfpack")
    pack, *others = [_trusted(name, data, policy) for name, data in packs]
    layouts: dict[str, str] = {}
    for (name, _), other in zip(packs[1:], others, strict=True):
        if name_of(other) in (name_of(pack), *layouts) or not is_repack(other, pack):
            raise PackError(
                f"{name}: is not {names[0]} in another layout; sign it again, or leave it out"
            )
        layouts[name_of(other)] = other.pack_id.hex()
    try:
        facts = pack_facts(pack)
        return facts, added_detail(facts, layouts)
    except (ValidationError, TypeError) as error:
        why = first_fault(error) if isinstance(error, ValidationError) else error
        raise PackError(f"{names[0]}: what it says of itself: {why}") from error


def _trusted(name: str, data: bytes, policy: Policy) -> Pack:
    pack = parse_pack(data, keys=policy.pack_publics)
    if pack.development and not policy.development:
        raise PackError(f"{name}: is signed by the development key, with which anybody can sign")
    if not pack.verified:
        raise PackError(
            f"{name}: is signed by key {pack.key_id:08x}, none of the policy's pack_keys"
        )
    if pack.data != data:
        raise PackError(f"{name}: has {len(data) - len(pack.data)} bytes behind the pack")
    return pack


def added_detail(facts: PackFacts, layouts: dict[str, str]) -> Added:
    """What the event that adds a pack says of it."""
    return Added(
        development=facts.development,
        layouts=layouts,
        parent=facts.parent,
        security_counter=facts.security_counter,
        signed_by=facts.signed_by,
    )


def pack_facts(pack: Pack) -> PackFacts:
    """What a pack says of itself."""
    return PackFacts(
        pack_id=pack.pack_id.hex(),
        sha256=hashlib.sha256(pack.data).hexdigest(),
        bytes=len(pack.data),
        model_id=pack.model_id.hex(),
        family=str(pack.meta.get("family", "")),
        schema_name=str(pack.meta.get("schema", "")),
        features=list(pack.meta.get("features", [])),
        layout=name_of(pack),
        format_version=pack.format_version,
        minimum_engine=".".join(str(pack.minimum_engine >> s & 255) for s in (16, 8, 0)),
        security_counter=pack.security_counter,
        signed_by=f"{pack.key_id:08x}",
        development=pack.development,
        state_layout=pack.state_layout.hex(),
        parent=pack.lineage.get("parent"),
        lineage=pack.lineage,
    )
