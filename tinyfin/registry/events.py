# SPDX-License-Identifier: Apache-2.0
"""Events of a registry: a line of canonical JSON each, chained by hashes and signed
(docs/formats/registry.md)."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinyfin.documents import Facts, first_fault
from tinyfin.errors import InputError
from tinyfin.pack.signing import verify
from tinyfin.registry.policy import Policy

__all__ = [
    "FIRST_BEFORE",
    "KINDS",
    "MAX_LINE_BYTES",
    "Actor",
    "Added",
    "Digest",
    "Event",
    "PackId",
    "Subject",
    "canonical",
    "check_detail",
    "declare",
    "parse_line",
    "signed_text",
    "time_text",
]

FIRST_BEFORE = 64 * "0"
"""What the first event has in place of the hash of the one before it."""
MAX_LINE_BYTES = 1 << 16
_SIGNED_AS = b"tinyfin registry event 1\n"
_MAX_INTEGER = 2**53 - 1
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_KIND = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$"

Digest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
PackId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Actor(_Part):
    """Who signs."""

    key: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
    """Key id."""
    name: str
    """The one that the policy gives the key."""


class Subject(_Part):
    """Which pack it is about."""

    manifest: Digest
    pack: PackId


class Event(_Part):
    """One event; that it is signed is checked by :func:`parse_line`'s callers."""

    actor: Actor
    before: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the line before it, its newline included."""
    detail: dict[str, Any]
    format: Literal[1] = 1
    kind: Annotated[str, Field(pattern=_KIND)]
    number: Annotated[int, Field(ge=1)]
    signature: Annotated[str, Field(pattern="^[0-9a-f]{128}$")]
    subject: Subject | None
    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """UTC."""

    @cached_property
    def line(self) -> bytes:
        """What stands in the log, with its newline."""
        return canonical(self.model_dump()) + b"\n"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the line, in hexadecimal."""
        return hashlib.sha256(self.line).hexdigest()

    def is_signed_by(self, public: bytes) -> bool:
        """Whether the key of these 32 bytes has signed it."""
        return verify(bytes.fromhex(self.signature), signed_text(self.model_dump()), public)


class Opened(Facts):
    """The first event."""

    policy: Policy


class Proposed(Facts):
    """A policy, which counts when enough persons have signed it."""

    policy: Policy


class Revoked(Facts):
    """A key that signs nothing from now on, and whose approvals do not count any more."""

    key: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
    why: str


class Added(Facts):
    """A pack came into the registry."""

    development: bool
    """Signed by the development key."""
    layouts: dict[str, PackId]
    """Ids of the same pack in other layouts, by layout."""
    parent: PackId | None
    """The pack that it follows, by its lineage."""
    security_counter: int
    signed_by: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
    """Key id of the pack's own signature."""


class Noted(Facts):
    """Approved, released."""

    note: str = ""


class Validated(Noted):
    """Somebody has looked at the pack."""

    evidence: Digest | None
    """The manifest of what was looked at."""


class Promoted(Noted):
    """Terminals of a stage get the pack."""

    stage: str
    fleet: str
    """Empty: all."""
    wave: int | None


class Explained(Facts):
    """Halted, retired."""

    why: Annotated[str, Field(min_length=1)]


KINDS: dict[str, type[Facts]] = {
    "opened": Opened,
    "policy": Proposed,
    "revoked": Revoked,
    "added": Added,
    "validated": Validated,
    "approved": Noted,
    "released": Noted,
    "promoted": Promoted,
    "halted": Explained,
    "retired": Explained,
}
"""What the ``detail`` of an event holds, by its kind."""
_OWN = tuple(KINDS)


def declare(kind: str, detail: type[Facts]) -> None:
    """Let other parts of tinyfin record events of their own; they change no pack's state.

    kind: two words with a dot, such as ``campaign.began``. Raises ValueError for another one.
    """
    if not re.fullmatch(_KIND, kind) or "." not in kind:
        raise ValueError(f"kind {kind!r}: two words of a-z, 0-9 and _ with a dot between them")
    KINDS[kind] = detail


def canonical(value: object) -> bytes:
    """JSON by RFC 8785, of objects with ASCII keys, lists, text, integers, true, false and null.

    Raises InputError for anything else: fractions have more than one form.
    """
    try:
        _require_plain(value)
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8")
    except (RecursionError, UnicodeEncodeError) as error:
        raise InputError(f"an event cannot hold this: {error}") from error


def _require_plain(value: object) -> None:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise InputError(f"an event cannot hold the key {key!r}; use ASCII text")
            _require_plain(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            _require_plain(one)
    elif isinstance(value, float) or (isinstance(value, int) and abs(value) > _MAX_INTEGER):
        raise InputError(f"an event cannot hold the number {value!r}; write whole numbers or text")
    elif value is not None and not isinstance(value, (str, int)):
        raise InputError(f"an event cannot hold a {type(value).__name__}")


def signed_text(event: Mapping[str, object]) -> bytes:
    """What the signature of an event, as JSON has it, is over."""
    return _SIGNED_AS + canonical({k: v for k, v in event.items() if k != "signature"})


def parse_line(line: bytes) -> Event:
    """The event of a line, which ends with its newline. Raises InputError unless it is canonical;
    the signature is not checked."""
    if len(line) > MAX_LINE_BYTES:
        raise InputError(f"has {len(line)} bytes, more than {MAX_LINE_BYTES}")
    try:
        event = Event.model_validate(json.loads(line))
        dt.datetime.strptime(event.time, _TIME)
    except ValidationError as error:
        raise InputError(f"is no event: {first_fault(error)}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"is no event: {error}") from error
    if event.line != line:
        raise InputError("is not in its canonical form")
    return event


def check_detail(event: Event) -> Facts | None:
    """The detail of an event, as its kind has it; None for another part's kind that is not known
    here. Raises InputError."""
    kind = KINDS.get(event.kind)
    if kind is None:
        if "." in event.kind:
            return None
        raise InputError(f"its kind {event.kind!r} is not known; there are {', '.join(_OWN)}")
    try:
        return kind.model_validate(event.detail)
    except ValidationError as error:
        raise InputError(f"detail of {event.kind!r}: {first_fault(error)}") from error


def time_text(time_s: int) -> str:
    """Seconds since 1970 as events have them."""
    return dt.datetime.fromtimestamp(time_s, dt.UTC).strftime(_TIME)
