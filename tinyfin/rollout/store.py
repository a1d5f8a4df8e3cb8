# SPDX-License-Identifier: Apache-2.0
"""Campaigns in a database: SQLite in a file of its owner's, or any other that SQLAlchemy knows.

Whatever happens to a campaign is an entry of its log, with what was seen; applying the entries one
after another gives its members and offers. A change is one transaction, and one at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from pydantic import ValidationError

from tinyfin.documents import first_fault
from tinyfin.errors import InputError, MismatchError
from tinyfin.rollout.controller import Progress, Rollout, State, Tick
from tinyfin.rollout.definition import Definition, Terminal
from tinyfin.rollout.gates import Gate
from tinyfin.rollout.members import NEVER, Seen

__all__ = ["Campaign", "Entry", "Store"]

_WAIT_S = 60
_TABLES = sa.MetaData()


def _table(
    name: str, *columns: tuple[str, type[sa.types.TypeEngine[Any]]], number: str = ""
) -> sa.Table:
    """A table whose key is the campaign, and ``number`` if it is given."""
    keys: list[sa.Column[Any]] = [sa.Column("campaign", sa.Text, primary_key=True)]
    keys += [sa.Column(number, sa.Integer, primary_key=True)] if number else []
    others = (sa.Column(column, kind, nullable=False) for column, kind in columns)
    return sa.Table(name, _TABLES, *keys, *others)


_CAMPAIGN = _table("campaign", ("definition", sa.Text), ("progress", sa.Text))
_MEMBER = _table(
    "member",
    ("terminal", sa.Text),
    ("stratum", sa.Text),
    ("stage", sa.Integer),
    ("offered_h", sa.Integer),
    number="number",
)
_TICK = _table(
    "tick",
    ("kind", sa.Text),
    ("hour", sa.Integer),
    ("who", sa.Text),
    ("why", sa.Text),
    ("result", sa.Text),
    ("digest", sa.Text),
    ("seen", sa.LargeBinary),
    number="number",
)
_OFFER = _table("offer", ("hour", sa.Integer), number="member")


@dataclass(frozen=True)
class Entry:
    """Of the log: a tick, or what persons did (approve, pause, resume, pass, halt, end)."""

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
    """What was seen: see :func:`_packed`."""

    @property
    def gates(self) -> list[Gate]:
        """Of a tick in which they were looked at."""
        return [Gate(**gate) for gate in self.result["gates"]]


@dataclass
class Campaign:
    """A campaign that was read; what is done to it is written when the block of
    :meth:`Store.changing` ends."""

    definition: Definition
    terminals: list[Terminal]
    rollout: Rollout
    entries: int
    """Of its log."""
    added: list[Entry] = field(default_factory=list)

    @classmethod
    def begun(cls, definition: Definition, terminals: Sequence[Terminal]) -> Campaign:
        """A draft."""
        names, strata = np.unique([one.stratum for one in terminals], return_inverse=True)
        numbers = {str(name): number for number, name in enumerate(names)}
        windows = definition.policy.limits.windows
        if unknown := [one.stratum for one in windows if one.stratum not in numbers]:
            raise InputError(
                f"windows: no terminal is in stratum {unknown[0]!r}; there are "
                f"{', '.join(list(numbers)[:20])}"
            )
        rollout = Rollout(
            definition.policy,
            definition.campaign,
            [bytes.fromhex(one.terminal) for one in terminals],
            strata,
            promise=definition.promise,
            windows={numbers[one.stratum]: one.hours for one in windows},
        )
        return cls(definition, list(terminals), rollout, 0)

    def tick(
        self, hour: int, seen: Seen, precision: tuple[float, float, float] | None = None
    ) -> Tick:
        """Go on; a tick that changes nothing leaves no entry."""
        data = _packed(seen, self.rollout.offered_h)
        tick = self.rollout.tick(hour, seen, precision=precision)
        if tick.changed:
            more = {"gates": [asdict(gate) for gate in tick.gates], "offers": len(tick.offers)}
            self._add("tick", hour, "", tick.why, data, precision=precision, **more)
        return tick

    def do(self, kind: str, hour: int, who: str, why: str) -> None:
        """What persons do. Raises InputError where the campaign is not in the state for it."""
        _apply(self.rollout, kind, hour, why)
        self._add(kind, hour, who, why)

    def _add(
        self, kind: str, hour: int, who: str, why: str, seen: bytes = b"", **more: object
    ) -> None:
        now = self.rollout.progress
        stages = np.bincount(self.rollout.stage, minlength=9).tolist()
        result = {"state": now.state, "wave": now.wave, "stages": stages, "gates": [], **more}
        digest = hashlib.sha256(seen).hexdigest()
        number = self.entries + len(self.added)
        self.added.append(Entry(number, kind, hour, who, why, result, digest, seen))


def _apply(rollout: Rollout, kind: str, hour: int, why: str) -> None:
    match kind:
        case "approve":
            rollout.approve()
        case "pause":
            rollout.pause(why)
        case "halt":
            rollout.halt(why)
        case "end":
            rollout.end(why)
        case _:
            rollout.resume(hour, why, next_wave=kind == "pass")


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
            row = {"campaign": name, "definition": text, "progress": _json(asdict(Progress()))}
            base.execute(sa.insert(_CAMPAIGN), row)
            rows = [
                {"campaign": name, "number": i, **one._asdict(), "stage": 0, "offered_h": NEVER}
                for i, one in enumerate(campaign.terminals)
            ]
            base.execute(sa.insert(_MEMBER), rows)

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
            rollout = campaign.rollout
            before = rollout.progress, rollout.stage.copy(), rollout.offered_h.copy()
            yield campaign
            if not campaign.added:
                return
            self._write(base, name, campaign, before[1], before[2])

    def _read(self, base: sa.Connection, name: str) -> Campaign:
        wanted = sa.select(_CAMPAIGN).filter_by(campaign=name).with_for_update()
        row = base.execute(wanted).one_or_none()
        if row is None:
            known = ", ".join(base.scalars(sa.select(_CAMPAIGN.c.campaign))) or "none"
            raise InputError(f"no campaign of the name {name!r} is here; there are: {known}")
        columns = (_MEMBER.c.terminal, _MEMBER.c.stratum, _MEMBER.c.stage, _MEMBER.c.offered_h)
        ordered = sa.select(*columns).filter_by(campaign=name).order_by(_MEMBER.c.number)
        members = base.execute(ordered).all()
        try:
            definition = Definition.model_validate_json(row.definition)
        except ValidationError as error:
            raise MismatchError(
                f"campaign {name}: {first_fault(error)}; it was changed, restore the database"
            ) from error
        made = Campaign.begun(definition, [Terminal(one[0], one[1]) for one in members])
        progress = json.loads(row.progress)
        made.rollout.restore(
            Progress(**{**progress, "state": State(progress["state"])}),
            np.array([one[2] for one in members], np.uint8),
            np.array([one[3] for one in members], np.int64),
        )
        count = sa.select(sa.func.count()).select_from(_TICK).filter_by(campaign=name)
        made.entries = int(base.scalar(count) or 0)
        return made

    def _write(
        self,
        base: sa.Connection,
        name: str,
        campaign: Campaign,
        stage: npt.NDArray[np.uint8],
        offered_h: npt.NDArray[np.int64],
    ) -> None:
        now = campaign.rollout
        if any(one.kind == "approve" for one in campaign.added):
            self._require_free(base, name)
        new = np.flatnonzero(offered_h != now.offered_h).tolist()
        changed = np.flatnonzero((stage != now.stage) | (offered_h != now.offered_h)).tolist()
        if new:
            offers = [{"campaign": name, "member": i, "hour": int(now.offered_h[i])} for i in new]
            base.execute(sa.insert(_OFFER), offers)
        if changed:
            update = sa.update(_MEMBER).where(
                _MEMBER.c.campaign == name, _MEMBER.c.number == sa.bindparam("i")
            )
            rows = [
                {"i": i, "stage": int(now.stage[i]), "offered_h": int(now.offered_h[i])}
                for i in changed
            ]
            base.execute(update, rows)
        entries = [
            {"campaign": name, **vars(one), "result": _json(one.result)} for one in campaign.added
        ]
        base.execute(sa.insert(_TICK), entries)
        text = {"progress": _json(asdict(now.progress))}
        base.execute(sa.update(_CAMPAIGN).filter_by(campaign=name), text)

    def _require_free(self, base: sa.Connection, name: str) -> None:
        """Refuse terminals of another campaign that still says what they are to run."""
        wanted = sa.select(_CAMPAIGN.c.campaign, _CAMPAIGN.c.progress).with_for_update()
        over = (State.DRAFT, State.HALTED, State.ROLLED_BACK, State.ENDED)
        states = {one: json.loads(progress)["state"] for one, progress in base.execute(wanted)}
        open_ = [one for one, state in states.items() if one != name and state not in over]
        mine, other = _MEMBER.alias(), _MEMBER.alias()
        shared = (
            sa.select(other.c.campaign, sa.func.count())
            .join(mine, mine.c.terminal == other.c.terminal)
            .where(mine.c.campaign == name, other.c.campaign.in_(open_))
            .group_by(other.c.campaign)
        )
        for one, count in base.execute(shared):
            raise InputError(
                f"{count} terminals of campaign {name} are in campaign {one}, which is "
                f"{states[one]}; end or halt that one first, so that no terminal is told two things"
            )

    def log(self, name: str) -> list[Entry]:
        """All entries, in their order."""
        with self._transaction() as base:
            ordered = sa.select(_TICK).filter_by(campaign=name).order_by(_TICK.c.number)
            rows = [row._asdict() for row in base.execute(ordered)]
        for row in rows:
            row["result"] = json.loads(row["result"])
            del row["campaign"]
        return [Entry(**row) for row in rows]

    def replay(self, name: str) -> int:
        """Apply the log from its first entry on; how many there are. Raises MismatchError where
        something else comes of it than what is kept."""
        kept, log = self.campaign(name), self.log(name)
        again = Campaign.begun(kept.definition, kept.terminals)
        for entry in log:
            if hashlib.sha256(entry.seen).hexdigest() != entry.digest:
                raise MismatchError(f"{name}, entry {entry.number}: what was seen was changed")
            if entry.kind == "tick":
                seen = _unpacked(entry.seen, again.rollout.offered_h)
                precision = entry.result["precision"]
                again.tick(entry.hour, seen, tuple(precision) if precision else None)
            else:
                again.do(entry.kind, entry.hour, entry.who, entry.why)
            made = again.added[-1] if len(again.added) == entry.number + 1 else None
            if made is None or _json(made.result) != _json(entry.result):
                raise MismatchError(f"{name}, entry {entry.number}: something else follows from it")
        with self._transaction() as base:
            rows = base.execute(sa.select(_OFFER.c.member, _OFFER.c.hour).filter_by(campaign=name))
            offers = {(row.member, row.hour) for row in rows}
        one, other = again.rollout, kept.rollout
        wanted = {(i, int(one.offered_h[i])) for i in np.flatnonzero(one.offered_h != NEVER)}
        same = one.progress == other.progress and np.array_equal(one.stage, other.stage)
        if not (same and np.array_equal(one.offered_h, other.offered_h) and offers == wanted):
            raise MismatchError(f"{name}: members or offers are not those that the log makes")
        return len(log)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _no_own_transactions(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin_alone(base: sa.Connection) -> None:
    base.exec_driver_sql("BEGIN IMMEDIATE")


_OF_ALL = ("heard_h", "stage", "pair")
"""What is seen of all members, not just of those that were offered the pack or have a pair."""


def _packed(seen: Seen, offered_h: npt.NDArray[np.int64]) -> bytes:
    """The columns of ``seen``, one behind the other, as far as a tick looks at them."""
    which = _looked_at(seen, offered_h)
    columns = [(one.name, getattr(seen, one.name)) for one in fields(Seen)]
    parts = [(c if name in _OF_ALL else c[which]).tobytes() for name, c in columns]
    return zlib.compress(b"".join(parts), 1)


def _looked_at(seen: Seen, offered_h: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.flatnonzero((offered_h != NEVER) | (seen.pair != NEVER))


def _unpacked(data: bytes, offered_h: npt.NDArray[np.int64]) -> Seen:
    seen, rest = Seen.nothing(len(offered_h)), zlib.decompress(data)
    for one in fields(Seen):
        column = getattr(seen, one.name)
        all_ = one.name in _OF_ALL
        place = np.arange(len(offered_h)) if all_ else _looked_at(seen, offered_h)
        shape = (len(place), *column.shape[1:])
        size = int(np.prod(shape)) * column.itemsize
        column[place] = np.frombuffer(rest[:size], column.dtype).reshape(shape)
        rest = rest[size:]
    return seen
