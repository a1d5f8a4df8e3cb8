# SPDX-License-Identifier: Apache-2.0
"""What a registry holds: an OCI image layout in a folder (image-spec 1.1), which skopeo and other
tools copy. Equal content has an equal digest, and no time is in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyfin import files
from tinyfin.errors import InputError, MismatchError

__all__ = [
    "EVIDENCE",
    "FACTS",
    "INDEX",
    "MANIFEST",
    "PACK",
    "REF_NAME",
    "Store",
    "encoded",
    "media_type",
]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PACK = "application/vnd.tinyfin.pack.v1"
FACTS = "application/vnd.tinyfin.pack.facts.v1+json"
EVIDENCE = "application/vnd.tinyfin.evidence.v1"
REF_NAME = "org.opencontainers.image.ref.name"
INDEX = "index.json"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_EMPTY_TYPE, _EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
_TITLE = "org.opencontainers.image.title"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_TYPES = {
    ".tfpack": PACK,
    ".tflite": "application/vnd.tinyfin.network.v1",
    ".html": "text/html",
    ".md": "text/markdown",
    ".toml": "application/toml",
    ".csv": "text/csv",
}

Descriptor = dict[str, Any]
"""Of a blob, as OCI has it: mediaType, digest, size, annotations."""


def media_type(name: str) -> str:
    """Of a file: our own for packs and the JSON files of a run (``release.json``:
    ``application/vnd.tinyfin.release.v1+json``)."""
    path = Path(name)
    if path.suffix == ".json":
        return f"application/vnd.tinyfin.{path.stem.lower()}.v1+json"
    return _TYPES.get(path.suffix, "application/octet-stream")


class Store:
    """The folder of the layout. What is written is whole, and on the disk, when a method returns;
    whoever writes holds the registry's log alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs" / "sha256"

    def create(self) -> None:
        """Make an empty layout in a folder that is there."""
        self.blobs.mkdir(parents=True)
        files.write(self.path / "oci-layout", _LAYOUT, durable=True)
        self.write_index(())
        files.sync(self.blobs.parent)

    def sweep(self) -> None:
        """Remove what a process that was killed has not finished."""
        for left in self.blobs.glob(".*"):
            left.unlink(missing_ok=True)

    def put(self, data: bytes, kind: str, title: str | None = None) -> Descriptor:
        """Keep a blob; its descriptor. One that is there and whole stays as it is."""
        name = hashlib.sha256(data).hexdigest()
        place = self.blobs / name
        if not place.is_file() or place.read_bytes() != data:
            files.write(place, data, durable=True)
        found: Descriptor = {"digest": f"sha256:{name}", "mediaType": kind, "size": len(data)}
        return found if title is None else {**found, "annotations": {_TITLE: title}}

    def put_manifest(
        self,
        kind: str,
        config: Descriptor | None,
        layers: Sequence[Descriptor],
        annotations: Mapping[str, str],
        subject: Descriptor | None = None,
    ) -> Descriptor:
        """Keep the manifest of an artifact of this type; its descriptor."""
        manifest = {
            "annotations": dict(annotations),
            "artifactType": kind,
            "config": config or self.put(_EMPTY, _EMPTY_TYPE),
            "layers": list(layers),
            "mediaType": MANIFEST,
            "schemaVersion": 2,
            **({} if subject is None else {"subject": subject}),
        }
        return self.put(encoded(manifest), MANIFEST)

    def describe(self, digest: str, kind: str = MANIFEST) -> Descriptor:
        """The descriptor of a blob that is there. Raises InputError."""
        return {"digest": digest, "mediaType": kind, "size": len(self.read(digest))}

    def read(self, digest: str) -> bytes:
        """A blob. Raises InputError when it is missing, MismatchError when it was changed."""
        if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
            raise InputError(f"{digest!r}: is no digest")
        place = self.blobs / digest.removeprefix("sha256:")
        if place.exists() and not place.is_file():
            raise InputError(f"{place}: is no file; copy it from a mirror of the registry")
        try:
            data = place.read_bytes()
        except OSError as error:
            raise InputError(
                f"{place}: cannot be read: {error.strerror}; copy it from a mirror of the registry"
            ) from error
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise MismatchError(f"{place}: was changed; copy it from a mirror of the registry")
        return data

    def manifest(self, digest: str) -> dict[str, Any]:
        """A manifest. Raises as :meth:`read`, and InputError for what is none."""
        data = self.read(digest)
        try:
            found: dict[str, Any] = json.loads(data)
            parts = (found["config"], *found["layers"])
            whole = found["mediaType"] == MANIFEST and all(
                isinstance(one["digest"], str)
                and isinstance(one["mediaType"], str)
                and isinstance(one["size"], int)
                for one in parts
            )
            names = [one["annotations"][_TITLE] for one in found["layers"]]
            whole = whole and all(isinstance(name, str) for name in names)
            whole = whole and len({*names}) == len(names)
        except (ValueError, LookupError, TypeError, RecursionError):
            whole = False
        if not whole:
            raise InputError(f"{digest}: is no manifest of an image layout")
        return found

    def layers(self, digest: str) -> dict[str, Descriptor]:
        """What a manifest lists, by file name."""
        return {one["annotations"][_TITLE]: one for one in self.manifest(digest)["layers"]}

    def check(self, digest: str) -> dict[str, bytes]:
        """Read a manifest and all that it names, which it returns by digest. Raises InputError,
        MismatchError."""
        manifest, found = self.manifest(digest), {}
        for one in (manifest["config"], *manifest["layers"]):
            found[one["digest"]] = self.read(one["digest"])
            if len(found[one["digest"]]) != one["size"]:
                raise MismatchError(f"{digest}: gives another size of {one['digest']}")
        return found

    def index_text(self, listed: Iterable[tuple[str, str | None]]) -> bytes:
        """``index.json``: manifests by digest, each with its name or None; those alone that are
        there."""
        manifests = []
        for digest, name in listed:
            place = self.blobs / digest.removeprefix("sha256:")
            if place.is_file():
                one = {"digest": digest, "mediaType": MANIFEST, "size": place.stat().st_size}
                manifests.append({**one, **({"annotations": {REF_NAME: name}} if name else {})})
        return encoded({"manifests": manifests, "mediaType": _INDEX_TYPE, "schemaVersion": 2})

    def write_index(self, listed: Iterable[tuple[str, str | None]]) -> None:
        """Write ``index.json`` where it is another one."""
        text, place = self.index_text(listed), self.path / INDEX
        if not place.is_file() or place.read_bytes() != text:
            files.write(place, text, durable=True)


def encoded(value: object) -> bytes:
    """JSON, always in the same form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
