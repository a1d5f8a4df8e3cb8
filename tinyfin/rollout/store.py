# SPDX-License-Identifier: Apache-2.0
"""Campaigns in a database: SQLite in a file of its owner's, or any other that SQLAlchemy knows.

Whatever happens to a campaign is an entry of its log, with what was seen; applying the entries one
after another gives its members and offers. A change is one transaction, and one at a time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from pydantic import ValidationError

from tinyfin.documents import first_fault
from tinyfin.errors import InputError, MismatchError
from tinyfin.rollout.controller import Progress, Rollout, State, Tick
from tinyfin.rollout.definition import Definition, Member
from tinyfin.rollout.members import NEVER, Seen, Stage
from tinyfin.rollout.membership import digests

__all__ = ["Campaign", "Entry", "Store"]

_WAIT_S = 60
_TABLES = sa.MetaData()
_CAMPAIGN = sa.Table(
    "campaign",
    _TABLES,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("members", sa.Text, nullable=False),
    sa.Column("progress", sa.Text, nullable=False),
    sa.Column("places", sa.LargeBinary, nullable=False),
)
"""``members``: JSON, a list of :class:`Member`; ``places``: stage and hour of the offer of each."""
_TICK = sa.Table(
    "tick",
    _TABLES,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("hour", sa.Integer, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("seen", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True)
class Entry:
    """Of the log: a tick, or what persons did (:meth:`Rollout.do`)."""

    number: int
    kind: str
    hour: int
    who: str
    why: str
    result: dict[str, Any]
    """State, wave, gates, counts of members by stage, offers, precision."""
    digest: str = ""
    """SHA-256 of ``seen``."""
    seen: bytes = b""
    """The arrays of :class:`Seen`; empty since a member was erased."""


@dataclass
class Campaign:
    """A campaign that was read; what is done to it is written when the block of
    :meth:`Store.changing` ends."""

    definition: Definition
    members: list[Member]
    rollout: Rollout
    kinds: list[str] = field(default_factory=list)
    """Of the entries of its log."""
    added: list[Entry] = field(default_factory=list)

    @classmethod
    def begun(cls, definition: Definition, members: Sequence[Member]) -> Campaign:
        """A draft."""
        names, strata = np.unique([one.stratum for one in members], return_inverse=True)
        numbers = {str(name): number for number, name in enumerate(names)}
        windows = definition.policy.limits.windows
        if unknown := [one.stratum for one in windows if one.stratum not in numbers]:
            raise InputError(
                f"windows: no terminal is in stratum {unknown[0]!r}; there are "
                f"{', '.join(list(numbers)[:20])}"
            )
        rollout = Rollout(
            definition.policy,
            digests(definition.campaign, (one.mark.encode() for one in members)),
            strata,
            promise=definition.promise,
            windows={numbers[one.stratum]: one.hours for one in windows},
        )
        return cls(definition, list(members), rollout)

    def tick(
        self, hour: int, seen: Seen, precision: tuple[float, float, float] | None = None
    ) -> Tick:
        """Go on; a tick that changes nothing leaves no entry."""
        tick = self.rollout.tick(hour, seen, precision=precision)
        if tick.changed:
            gates = [asdict(gate) for gate in tick.gates]
            more = {"gates": gates, "offers": len(tick.offers), "precision": precision}
            self._add("tick", hour, "", tick.why, _packed(vars(seen)), more)
        return tick

    def do(self, kind: str, hour: int, who: str, why: str) -> None:
        """What persons do. Raises InputError where the campaign is not in the state for it."""
        self.rollout.do(kind, why)
        self._add(kind, hour, who, why, b"", {"gates": []})

    def _add(
        self, kind: str, hour: int, who: str, why: str, seen: bytes, more: dict[str, object]
    ) -> None:
        now = self.rollout.progress
        stages = np.bincount(self.rollout.stage, minlength=len(Stage)).tolist()
        result = {"state": now.state, "wave": now.wave, "stages": stages, **more}
        digest = hashlib.sha256(seen).hexdigest()
        self.added.append(Entry(len(self.kinds), kind, hour, who, why, result, digest, seen))
        self.kinds.append(kind)


class Store:
    """The database of a URL such as ``sqlite:///FILE`` or ``postgresql+psycopg://...``. What it
    cannot do raises InputError."""

    def __init__(self, url: str) -> None:
        try:
            self._url = sa.make_url(url)
            lite = self._url.get_backend_name() == "sqlite"
            more = {"connect_args": {"timeout": _WAIT_S}} if lite else {}
            if lite and self._url.database:  # its owner's alone
                os.close(os.open(self._url.database, os.O_CREAT | os.O_RDWR, 0o600))
            self._engine = sa.create_engine(self._url, **more)
        except (sa.exc.ArgumentError, ImportError, OSError) as error:
            raise InputError(f"store: this URL cannot be used: {error}") from error
        if lite:  # one change at a time from its first statement on, as FOR UPDATE is elsewhere
            sa.event.listen(self._engine, "connect", _no_own_transactions)
            sa.event.listen(self._engine, "begin", _begin_alone)
        with self._transaction() as base:
            _TABLES.create_all(base)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as base:
                if self._url.get_backend_name() == "postgresql":
                    base.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT_S}s'")
                yield base
        except sa.exc.SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise InputError(f"store {self._url!r}: {cause}") from error

    def add(self, campaign: Campaign) -> None:
        """Keep a draft."""
        name, text = campaign.definition.name, campaign.definition.model_dump_json()
        with self._transaction() as base:
            if base.scalar(sa.select(_CAMPAIGN.c.campaign).filter_by(campaign=name)):
                raise InputError(f"campaign {name} is there already; choose another name")
            members = json.dumps(campaign.members)
            row = {"campaign": name, "definition": text, "members": members}
            base.execute(sa.insert(_CAMPAIGN), row | _state(campaign.rollout))

    def names(self) -> list[str]:
        """Of all campaigns, by when they began: drafts last."""
        begun = sa.func.coalesce(sa.func.min(_TICK.c.hour), 1 << 30)
        joined = _CAMPAIGN.outerjoin(_TICK, _TICK.c.campaign == _CAMPAIGN.c.campaign)
        ordered = (
            sa.select(_CAMPAIGN.c.campaign)
            .select_from(joined)
            .group_by(_CAMPAIGN.c.campaign)
            .order_by(begun, _CAMPAIGN.c.campaign)
        )
        with self._transaction() as base:
            return list(base.scalars(ordered))

    def campaign(self, name: str) -> Campaign:
        """A campaign as it is."""
        with self._transaction() as base:
            return self._read(base, name)

    @contextmanager
    def changing(self, name: str) -> Iterator[Campaign]:
        """A campaign that nobody else changes in the block; its end writes all or nothing."""
        with self._transaction() as base:
            campaign = self._read(base, name)
            yield campaign
            if not campaign.added:
                return
            if any(one.kind == "approve" for one in campaign.added):
                self._require_free(base, campaign)
            base.execute(sa.insert(_TICK), [{"campaign": name, **vars(e)} for e in campaign.added])
            row = _state(campaign.rollout)
            base.execute(sa.update(_CAMPAIGN).filter_by(campaign=name), row)

    def _read(self, base: sa.Connection, name: str) -> Campaign:
        wanted = sa.select(_CAMPAIGN).filter_by(campaign=name).with_for_update()
        row = base.execute(wanted).one_or_none()
        if row is None:
            known = ", ".join(base.scalars(sa.select(_CAMPAIGN.c.campaign))) or "none"
            raise InputError(f"no campaign of the name {name!r} is here; there are: {known}")
        try:
            definition = Definition.model_validate_json(row.definition)
        except ValidationError as error:
            raise MismatchError(
                f"campaign {name}: {first_fault(error)}; it was changed, restore the database"
            ) from error
        made = Campaign.begun(definition, [Member(*one) for one in json.loads(row.members)])
        progress = json.loads(row.progress)
        made.rollout.restore(
            Progress(**{**progress, "state": State(progress["state"])}), **_unpacked(row.places)
        )
        ordered = sa.select(_TICK.c.kind).filter_by(campaign=name).order_by(_TICK.c.number)
        made.kinds += base.scalars(ordered)
        return made

    def _require_free(self, base: sa.Connection, campaign: Campaign) -> None:
        """Refuse terminals of another campaign that still says what they are to run."""
        over = (State.DRAFT, State.HALTED, State.ROLLED_BACK, State.ENDED)
        name, mine = campaign.definition.name, {one.terminal for one in campaign.members} - {""}
        for row in base.execute(sa.select(_CAMPAIGN).with_for_update()):
            state = json.loads(row.progress)["state"]
            if row.campaign == name or state in over:
                continue
            if shared := len(mine.intersection(one[0] for one in json.loads(row.members))):
                raise InputError(
                    f"{shared} terminals of campaign {name} are in campaign {row.campaign}, which "
                    f"is {state}; end or halt that one first, so that no terminal is told two "
                    "things"
                )

    def log(self, name: str) -> list[Entry]:
        """All entries, in their order."""
        with self._transaction() as base:
            ordered = sa.select(_TICK).filter_by(campaign=name).order_by(_TICK.c.number)
            rows = [row._asdict() for row in base.execute(ordered)]
        return [Entry(**{k: v for k, v in row.items() if k != "campaign"}) for row in rows]

    def replay(self, name: str) -> int:
        """Apply the log from its first entry on; how many there are. Raises MismatchError where
        something else comes of it than what is kept, InputError where a member was erased."""
        kept, log = self.campaign(name), self.log(name)
        again = Campaign.begun(kept.definition, kept.members)
        for entry in log:
            if entry.kind == "tick" and not entry.seen:
                raise InputError(f"{name}: what was seen is gone since a member was erased")
            if hashlib.sha256(entry.seen).hexdigest() != entry.digest:
                raise MismatchError(f"{name}, entry {entry.number}: what was seen was changed")
            if entry.kind == "tick":
                precision = entry.result["precision"]
                seen = Seen(**_unpacked(entry.seen))
                again.tick(entry.hour, seen, tuple(precision) if precision else None)
            else:
                again.do(entry.kind, entry.hour, entry.who, entry.why)
            made = again.added[-1] if len(again.added) == entry.number + 1 else None
            if made is None or _json(made.result) != _json(entry.result):
                raise MismatchError(f"{name}, entry {entry.number}: something else follows from it")
        one, other = again.rollout, kept.rollout
        same = one.progress == other.progress and np.array_equal(one.stage, other.stage)
        if not (same and np.array_equal(one.offered_h, other.offered_h)):
            raise MismatchError(f"{name}: members or offers are not those that the log makes")
        return len(log)

    def erase(self, mark: str) -> int:
        """Forget a member in all campaigns, and with it what their logs have seen; in how many.
        What remains is its mark, as of a terminal that was never heard of."""
        count = 0
        with self._transaction() as base:
            for row in base.execute(sa.select(_CAMPAIGN).with_for_update()).all():
                members = [Member(*one) for one in json.loads(row.members)]
                held = [i for i, one in enumerate(members) if one.mark == mark and one.terminal]
                places = _unpacked(row.places)
                for i in held:
                    members[i] = members[i]._replace(terminal="")
                    places["stage"][i], places["offered_h"][i] = Stage.TARGETED, NEVER
                if held:
                    changed = {"members": json.dumps(members), "places": _packed(places)}
                    base.execute(sa.update(_CAMPAIGN).filter_by(campaign=row.campaign), changed)
                    base.execute(sa.update(_TICK).filter_by(campaign=row.campaign), {"seen": b""})
                    count += 1
        return count


def _state(rollout: Rollout) -> dict[str, object]:
    """What a tick changes of a campaign's row."""
    places = _packed({"stage": rollout.stage, "offered_h": rollout.offered_h})
    return {"progress": _json(asdict(rollout.progress)), "places": places}


def _packed(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]  # its stub knows one keyword
    return data.getvalue()


def _unpacked(data: bytes) -> dict[str, npt.NDArray[Any]]:
    with np.load(io.BytesIO(data)) as arrays:
        return dict(arrays)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _no_own_transactions(connection: Any, _: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten


def _begin_alone(base: sa.Connection) -> None:
    base.exec_driver_sql("BEGIN IMMEDIATE")
