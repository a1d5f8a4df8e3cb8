# SPDX-License-Identifier: Apache-2.0
"""A registry: its content and its log together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinyfin import files
from tinyfin.errors import InputError, PackError, TinyfinError
from tinyfin.pack.container import open_pack
from tinyfin.pack.signing import Key
from tinyfin.registry.contents import Files, PackFacts, described
from tinyfin.registry.events import Event, Subject, time_text
from tinyfin.registry.log import Head, Log, follow, latest_time, next_event
from tinyfin.registry.policy import Policy
from tinyfin.registry.state import Entry, Fault, State, Verdict, replay
from tinyfin.registry.store import EVIDENCE, FACTS, INDEX, PACK, Store, encoded, media_type

__all__ = ["LOG", "Finding", "Registry", "moment_text"]

LOG = "log.jsonl"
_FEWEST_DIGITS = 6
"""Of the beginning of a pack id that names a pack."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a registry."""

    verdict: str
    number: int | None
    """Of the event that it is about."""
    why: str

    def __str__(self) -> str:
        return f"{self.verdict}: {f'event {self.number} ' if self.number else ''}{self.why}"


class Registry:
    """The registry in a folder. Who appends needs a key of the policy."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.log = Log(self.path / LOG)
        self.store = Store(self.path)

    @classmethod
    def create(
        cls, path: str | Path, policy: Policy, key: Key, *, now_s: int | None = None
    ) -> Registry:
        """Make a registry in a new folder, which is there as a whole or not at all. Raises
        InputError."""
        if Path(path).exists() and (not Path(path).is_dir() or any(Path(path).iterdir())):
            raise InputError(f"{path}: there is something of that name; choose another folder")
        state = State()
        event = next_event(state, "opened", None, {"policy": policy.as_dict()}, key, now_s)
        try:
            state.take(event)
        except Fault as fault:
            raise InputError(f"{path}: 'opened' is refused: {fault}") from fault
        with files.folder(path) as made:
            Store(made).create()
            files.write(made / LOG, event.line, durable=True)
        files.sync(Path(path).resolve().parent)
        return cls(path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self.log.writing():
            self.store.sweep()
            yield
            self.store.write_index(_listed(self.log.followed.events))

    def add(self, kept: Files, key: Key, *, now_s: int | None = None) -> Event:
        """Keep a pack and what goes with it. Raises InputError, MismatchError, and PackError for a
        pack that the policy does not trust."""
        with self._writing():
            state = self.log.state
            facts, detail = described(kept, _known(state.policy))
            pack = facts.pack_id
            if pack in state.named:
                number = state.entries[state.named[pack]].added.number
                raise InputError(f"{self.path}: has pack {pack} already, by event {number}")
            layers = [self.store.put(data, media_type(name), name) for name, data in kept]
            config = self.store.put(encoded(facts.as_dict()), FACTS)
            manifest = self.store.put_manifest(PACK, config, layers, _annotations(facts))
            subject = Subject(manifest=manifest["digest"], pack=pack)
            return self.log.append("added", subject, detail.as_dict(), key, now_s=now_s)

    def validate(
        self,
        pack: str,
        evidence: Mapping[str, bytes],
        key: Key,
        note: str = "",
        *,
        now_s: int | None = None,
    ) -> Event:
        """Record that somebody has looked at a pack, and keep the files that say what they saw, by
        name. Raises InputError, MismatchError."""
        with self._writing():
            entry = self.find(pack)
            digest = None
            if evidence:
                layers = [
                    self.store.put(data, media_type(name), name) for name, data in evidence.items()
                ]
                subject = self.store.describe(entry.manifest)
                found = self.store.put_manifest(
                    EVIDENCE, None, layers, {"tinyfin.pack": entry.pack}, subject
                )
                digest = found["digest"]
            detail = {"evidence": digest, "note": note}
            return self.log.append("validated", _subject(entry), detail, key, now_s=now_s)

    def record(
        self,
        kind: str,
        pack: str | None,
        detail: Mapping[str, object],
        key: Key,
        *,
        now_s: int | None = None,
    ) -> Event:
        """Record an event, about a pack or about none; the content of a pack that is approved or
        released is checked first. Raises InputError when it breaks a rule, MismatchError when the
        log is not valid or content was changed."""
        with self._writing():
            if pack is None:
                return self.log.append(kind, None, detail, key, now_s=now_s)
            entry = self.find(pack)
            if kind in ("approved", "released"):
                added = self.log.followed.events[entry.added.number - 1]
                self._check_content(added, _known(self.log.state.policy))
            return self.log.append(kind, _subject(entry), detail, key, now_s=now_s)

    def find(self, text: str) -> Entry:
        """The pack of an id (of any of its layouts), of how one id begins, or of a .tfpack file.

        The log was read before. Raises InputError when there is none or more than one.
        """
        file = Path(text)
        wanted = text.lower()
        if file.suffix == ".tfpack" and file.is_file():
            wanted = open_pack(file).pack_id.hex()
        state = self.log.state
        if wanted in state.named:
            return state.entries[state.named[wanted]]
        found = {pack for one, pack in state.named.items() if one.startswith(wanted)}
        if len(wanted) < _FEWEST_DIGITS or len(found) != 1:
            has = f"{len(found)} packs" if found and len(wanted) >= _FEWEST_DIGITS else "no pack"
            raise InputError(
                f"{self.path}: {has} of the name {text!r}; give a pack id as `tinyfin registry at` "
                f"lists them, {_FEWEST_DIGITS} digits at least"
            )
        return state.entries[found.pop()]

    def state(self, until: str | None = None) -> State:
        """The state at a time as :func:`moment_text` gives it, now if None. Raises MismatchError
        when the log is not valid."""
        self.log.refresh()
        return (
            self.log.state
            if until is None
            else replay(self.log.followed.events, until, latest_time())
        )

    def events(self) -> Sequence[Event]:
        """All events. Raises as :meth:`state`."""
        self.log.refresh()
        return self.log.followed.events

    def verify(self, heads: Sequence[Head] = ()) -> tuple[Head, list[Finding]]:
        """Check the log, event by event, and then every blob that it names; its newest event that
        is good, and what is wrong. Raises InputError when there is no log."""
        try:
            data = self.log.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{self.log.path}: cannot be read: {error.strerror}; name the folder of a registry"
            ) from error
        found = follow(data, heads)
        faults = []
        if found.verdict != Verdict.VALID:
            faults.append(Finding(found.verdict, found.number, found.why))
        latest = latest_time()
        for event in found.events:
            if event.time > latest:
                why = f"has the time {event.time}, later than the clock; its place counts"
                faults.append(Finding(Verdict.UNRULY, event.number, why))
            try:
                self._check_content(event, _known(found.state.policy_at(event.number)))
            except TinyfinError as error:
                faults.append(Finding(Verdict.CORRUPT, event.number, f"names content: {error}"))
        place = self.path / INDEX
        wanted = self.store.index_text(_listed(found.events))
        if not place.is_file() or place.read_bytes() != wanted:
            why = f"{place}: is not what the log says; the next event writes it again"
            faults.append(Finding("STALE", None, why))
        return found.head, faults

    def _check_content(self, event: Event, policy: Policy) -> None:
        if event.kind == "validated" and event.detail["evidence"] is not None:
            self.store.check(event.detail["evidence"])
        if event.kind != "added" or event.subject is None:
            return
        blobs = self.store.check(event.subject.manifest)
        manifest = self.store.manifest(event.subject.manifest)
        layers = self.store.layers(event.subject.manifest)
        held = [(name, blobs[one["digest"]]) for name, one in layers.items()]
        facts, detail = described(held, policy)
        if (
            facts.pack_id != event.subject.pack
            or blobs[manifest["config"]["digest"]] != encoded(facts.as_dict())
            or detail.as_dict() != event.detail
            or manifest.get("artifactType") != PACK
            or manifest.get("annotations") != _annotations(facts)
            or any(one["mediaType"] != media_type(name) for name, one in layers.items())
        ):
            raise PackError(
                f"{event.subject.manifest}: differs from what is recorded of it in event or config"
            )


def moment_text(text: str | None) -> str | None:
    """A date, whose end counts, or a time (ISO 8601; UTC where it says nothing else) as events
    write it; None stays. Raises InputError."""
    if text is None:
        return None
    try:
        found = dt.datetime.fromisoformat(text)
        if len(text) <= len("2026-11-03"):
            found = found.replace(hour=23, minute=59, second=59)
        zone = dt.UTC if found.tzinfo is None else found.tzinfo
        return time_text(int(found.replace(tzinfo=zone).timestamp()))
    except (ValueError, OverflowError):
        raise InputError(
            f'{text!r}: a moment is written like "2026-11-03" or "2026-11-03T12:00:00Z"'
        ) from None


def _known(policy: Policy | None) -> Policy:
    """The policy of a log that has its first event."""
    assert policy is not None
    return policy


def _annotations(facts: PackFacts) -> dict[str, str]:
    return {"tinyfin.pack": facts.pack_id, "tinyfin.model": facts.model_id}


def _subject(entry: Entry) -> Subject:
    return Subject(manifest=entry.manifest, pack=entry.pack)


def _listed(events: Sequence[Event]) -> Iterator[tuple[str, str | None]]:
    """The manifests that events name, in their order, those of packs with the pack's id."""
    for event in events:
        if event.kind == "added" and event.subject is not None:
            yield event.subject.manifest, event.subject.pack
        elif event.kind == "validated" and event.detail["evidence"] is not None:
            yield event.detail["evidence"], None
