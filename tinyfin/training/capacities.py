# SPDX-License-Identifier: Apache-2.0
"""Tables of a terminal's memory that were full, and how many entries would have been enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinyfin.data.events import Notices, noticed_labels
from tinyfin.data.transactions import NO_RESULT, Transactions
from tinyfin.features.operators import BY_CODE, CARD, TERMINAL
from tinyfin.formats import OPERATOR, ProgramHeader
from tinyfin.results.capacities import Capacities, Capacity

__all__ = ["LEVEL", "CapacityRows", "LookBack", "capacities", "capacity_lines", "capacity_rows"]

LEVEL = 0.01
"""A smaller share of overflows is not worth a line."""
MOST = {
    "terminal_labels": 128,
    "card_labels": 16,
    "card_sets": 4096,
    "card_ways": 16,
    "pending": 256,
}
"""What [features] takes."""

_TIME_BITS = 34
"""A moment and a span after it fit."""

Ints = npt.NDArray[np.int64]


class Labels(NamedTuple):
    """What the features of a key read of its label ring."""

    fewest: int = 0
    """Labels that are looked at, however old: 0 without such a feature."""
    span_s: int = 0
    one_more: bool = False
    """Whether the newest label before the span is looked at, too."""
    runs: bool = False
    """Whether all frauds in a row are looked at."""


class LookBack(NamedTuple):
    """How far the features of a program look back."""

    terminal: Labels
    card: Labels
    card_s: int | None
    """Since a card's last transaction; None: for ever."""

    @classmethod
    def of(cls, program: bytes) -> LookBack:
        """From the bytes of a feature program."""
        header = ProgramHeader.read(program)
        labels = {TERMINAL: Labels(), CARD: Labels()}
        card_s: int | None = 0
        for i in range(header.score_operators):
            row = OPERATOR.unpack_from(program, header.score_at + OPERATOR.size * i)
            name, key, p0, p2 = BY_CODE[row[0]].name, row[1], row[9], row[11]
            if name == "KNOWN":
                own = labels[key]
                labels[key] = Labels(
                    1,
                    max(own.span_s, 0 if p2 in (0, 1, 3) else p0),
                    own.one_more or p2 == 2,
                    own.runs or p2 == 1,
                )
            if key == CARD:
                # notices only reach a card that has a slot: what is known of it has no end
                spans = {"WINDOW": p0 * p2, "SINCE": p0, "DISTINCT": p0}
                own_s = spans.get(name)
                card_s = None if card_s is None or own_s is None else max(card_s, own_s)
        return cls(labels[TERMINAL], labels[CARD], card_s)


@dataclass(frozen=True)
class CapacityRows:
    """What capacities depend on, of n transactions: 27 bytes a row."""

    terminal: npt.NDArray[np.int32]
    token: npt.NDArray[np.uint64]
    """0 where there is no card."""
    t_s: npt.NDArray[np.uint32]
    outcome_s: npt.NDArray[np.uint32]
    ended: npt.NDArray[np.bool_]
    """Whether the outcome ever comes."""
    label: npt.NDArray[np.int8]
    """-1 where no notice comes, 1 where one says fraud."""
    known_s: npt.NDArray[np.uint32]
    _found: dict[object, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, tx: Transactions, notices: Notices) -> CapacityRows:
        """Those of transactions."""
        token = np.zeros(len(tx), np.uint64)
        if "token" in tx.schema.names:
            token = np.where(tx.has("token"), tx.column("token"), 0).astype(np.uint64)
        return cls(
            tx.terminal,
            token,
            tx.t_mono_s,
            tx.outcome_t_mono_s,
            tx.result != NO_RESULT,
            *noticed_labels(tx, notices),
        )

    @classmethod
    def joined(cls, parts: Sequence[CapacityRows]) -> CapacityRows:
        """The rows of all parts, in their order; one part at least."""
        names = [f.name for f in fields(cls) if f.init and f.name != "_found"]
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in names
        }
        return cls(**columns)

    @property
    def card_commits(self) -> int:
        """Transactions with a card and an outcome."""
        return int(np.count_nonzero(self.ended & (self.token != 0)))

    def enough(self, table: str, look: LookBack, header: ProgramHeader) -> dict[str, int]:
        """Keys of [features] that are enough for ``labels``, ``cards`` or ``pending``."""
        key = (table, look, header.card_sets, header.card_ways, header.terminal_labels > 0)
        if key not in self._found:
            self._found[key] = {
                "labels": self._labels,
                "cards": self._cards,
                "pending": lambda *_: {"pending": pending_needed(self)},
            }[table](look, header)
        return self._found[key]

    def terminal_labels(self, look: LookBack) -> int:
        """Entries of a terminal's label ring that are enough."""
        rows = self._notices()
        return self._needed(rows, self.terminal[rows], look.terminal, MOST["terminal_labels"])

    def _labels(self, look: LookBack, header: ProgramHeader) -> dict[str, int]:
        out = {}
        if header.terminal_labels:
            out["terminal_labels"] = self.terminal_labels(look)
        if header.card_labels:
            rows = self._notices()
            rows = rows[self.token[rows] != 0]
            card = np.unique(self.token[rows], return_inverse=True)[1]
            owner = self.terminal[rows].astype(np.int64) * (int(card.max(initial=0)) + 1) + card
            out["card_labels"] = self._needed(rows, owner, look.card, MOST["card_labels"])
        return out

    def _notices(self) -> Ints:
        rows = np.flatnonzero(self.label >= 0)
        return rows[np.argsort(self.known_s[rows], kind="stable")]

    def _needed(self, rows: Ints, owner: npt.NDArray[np.integer], look: Labels, most: int) -> int:
        known, t, fraud = (
            column[rows].astype(np.int64) for column in (self.known_s, self.t_s, self.label)
        )
        return labels_needed(owner.astype(np.int64), known, t, fraud, look, most)

    def _cards(self, look: LookBack, header: ProgramHeader) -> dict[str, int]:
        own = self.token != 0
        committed = np.where(self.ended, self.outcome_s, self.t_s)[own].astype(np.int64)
        ways = ways_needed(
            self.terminal[own].astype(np.int64), self.token[own], committed, look.card_s
        )
        if ways[header.card_sets] <= header.card_ways:
            return {"card_sets": header.card_sets, "card_ways": header.card_ways}
        fits = [(s * w, s, w) for s, w in ways.items() if w <= MOST["card_ways"]]
        _, sets, way = min(fits, default=(0, 2 * MOST["card_sets"], MOST["card_ways"]))
        return {"card_sets": sets, "card_ways": way}


def labels_needed(
    owner: Ints, known_s: Ints, t_s: Ints, fraud: Ints, look: Labels, most: int
) -> int:
    """Entries with which no ring loses a label that is looked at; ``most`` + 1: more than ``most``.

    Labels of n notices in order of ``known_s``: ``t_s`` the transaction's time, ``owner`` whose
    ring. A label in the span now was in it whenever another pushed it out, so the most labels that
    ever were in the span together are enough.
    """
    if not len(owner):
        return look.fewest
    ring = np.unique(owner, return_inverse=True)[1].astype(np.int64)
    order = np.argsort(ring, kind="stable")
    base = ring[order] << _TIME_BITS
    known, t, bad = known_s[order], t_s[order], fraud[order] == 1
    rank = np.arange(len(order)) - np.searchsorted(base, base)
    out_of_span = np.searchsorted(base + known, base + t + look.span_s)
    within = np.minimum(_held(out_of_span) + look.one_more, rank + 1)
    needed = max(look.fewest, int(within.max()))
    if look.runs:
        genuine_s = np.maximum.accumulate(base + np.where(bad, 0, t + 1))
        ended = np.searchsorted(genuine_s, base + t + 1, side="right")
        needed = max(needed, int(_held(np.where(bad, ended, 0)).max()))
    return min(needed, most + 1)


def _held(end: Ints) -> Ints:
    """How many of n entries are held at each place: each from its own place up to ``end``, not at
    all if that is not later."""
    place = np.arange(len(end))
    there = end > place
    ends = np.bincount(end[there], minlength=len(end) + 1)[:-1]
    return np.asarray(np.cumsum(there - ends), np.int64)


def ways_needed(
    terminal: Ints, token: npt.NDArray[np.uint64], t_s: Ints, span_s: int | None
) -> dict[int, int]:
    """Ways, by number of sets, with which no card of a terminal is evicted while its last
    transaction is younger than ``span_s`` (None: at all); n commits with a card, in any order.

    The most cards of one set whose last transactions are in one span are enough.
    """
    order = np.lexsort((t_s, token, terminal))
    terminal, token, t = terminal[order], token[order], t_s[order]
    first = np.ones(len(t), bool)
    first[1:] = (token[1:] != token[:-1]) | (terminal[1:] != terminal[:-1])
    begin, end = first, np.zeros(len(t), bool)
    if span_s is not None:
        begin = first.copy()
        begin[1:] |= np.diff(t) >= span_s
        end = np.append(begin[1:], True)
    place = ((token ^ (token >> np.uint64(32))) & np.uint64(MOST["card_sets"] - 1)).astype(np.int64)
    owner, place = (np.concatenate([x[begin], x[end]]) for x in (terminal, place))
    moment = np.concatenate([t[begin], t[end] + (span_s or 0)])
    step = np.repeat([1, -1], [np.count_nonzero(begin), np.count_nonzero(end)])
    at = np.lexsort((step, moment))  # a card that is forgotten goes first
    owner, place, step = owner[at], place[at], step[at]
    out = {}
    for sets in (2**k for k in range(MOST["card_sets"].bit_length())):
        group = owner * sets + (place & (sets - 1))
        at = np.argsort(group, kind="stable")
        held = np.cumsum(step[at])
        start = np.flatnonzero(np.diff(group[at], prepend=-1))
        most = np.maximum.reduceat(held, start) - (held[start] - step[at][start])
        out[sets] = int(most.max(initial=0))
    return out


def pending_needed(rows: CapacityRows) -> int:
    """Entries with which no transaction whose outcome comes is pushed out before it does.

    One whose outcome never comes stays until it is pushed out, whatever the capacity.
    """
    scored, ended = np.arange(len(rows.t_s)), np.flatnonzero(rows.ended)
    row = np.concatenate([scored, ended])
    late = np.repeat([False, True], [len(scored), len(ended)])
    time = np.concatenate([rows.t_s, rows.outcome_s[ended]])
    # the order of events.event_stream: within a second the outcomes of earlier scores come first
    before = late & (time != rows.t_s[row])
    order = np.lexsort((late, row, ~before, time))
    waiting: dict[int, list[int]] = {}
    needed = 1
    comes = rows.ended.tolist()
    for i, done, terminal in zip(
        row[order].tolist(), late[order].tolist(), rows.terminal[row[order]].tolist(), strict=True
    ):
        own = waiting.setdefault(terminal, [])
        if done:
            own.remove(i)
        else:
            own.append(i)
        while own and not comes[own[0]]:
            del own[0]
        needed = max(needed, len(own))
    return min(needed, MOST["pending"] + 1)


def capacities(program: bytes, counters: Mapping[str, int], rows: CapacityRows) -> Capacities:
    """Counters of the engine, summed over all terminals, as shares; and for those above LEVEL what
    would have been enough for ``rows``."""
    header, look = ProgramHeader.read(program), LookBack.of(program)

    def one(table: str, counter: str, of: int, now: Mapping[str, int]) -> Capacity:
        overflows = counters[counter]
        found = Capacity(
            now=dict(now), overflows=overflows, of=of, share=overflows / of if of else 0.0
        )
        if found.share > LEVEL:
            found.enough = rows.enough(table, look, header)
            found.too_small = any(
                value != now[key] if table == "cards" else value > now[key]
                for key, value in found.enough.items()
            )
        return found

    rings = {"terminal_labels": header.terminal_labels, "card_labels": header.card_labels}
    rings = {key: value for key, value in rings.items() if value}
    entries = counters["notices"] * len(rings)
    slots = {"card_sets": header.card_sets, "card_ways": header.card_ways}
    has_cards = header.card_sets > 0
    return Capacities(
        labels=one("labels", "label_overflows", entries, rings) if rings else None,
        cards=one("cards", "evictions", rows.card_commits, slots) if has_cards else None,
        pending=one(
            "pending", "pending_overflows", counters["scored"], {"pending": header.pending}
        ),
    )


_WORDS = {
    "labels": ("label rings", "entries", "labels that features look back on were dropped"),
    "cards": (
        "card table",
        "transactions with a card",
        "cards that features look back on were evicted",
    ),
    "pending": (
        "pending entries",
        "transactions",
        "some were committed as timed out before their outcome came",
    ),
}


def capacity_rows(found: Capacities) -> list[tuple[str, str, str]]:
    """Name of the table, how often it was full, and what to change: for each that is there."""
    out = []
    for name, (table, of, lost) in _WORDS.items():
        one: Capacity | None = getattr(found, name)
        if one is None:
            continue
        said = f"{one.overflows:,} overflows for {one.of:,} {of} ({100 * one.share:.3g} %)"
        advice = f"at most {100 * LEVEL:g} %" if one.overflows else "nothing"
        if one.enough:
            advice = "nothing that features look back on"
        if one.too_small and one.enough is not None:
            advice = f"{lost}; [features] {_keys(one.enough)} would have been enough"
            beyond = [key for key, value in one.enough.items() if value > MOST[key]]
            if beyond:
                most = _keys({key: MOST[key] for key in beyond})
                advice = (
                    f"{lost}; more than [features] {most}, the most, would be needed: set it, or "
                    "choose features that look back less"
                )
        out.append((f"{table} ({_keys(one.now)})", said, advice))
    return out


def capacity_lines(found: Capacities) -> list[str]:
    """One line for each table that lost what features look back on, above LEVEL."""
    small = [one for name in _WORDS if (one := getattr(found, name)) is not None]
    return [
        f"{table}: {said}: {advice}"
        for (table, said, advice), one in zip(capacity_rows(found), small, strict=True)
        if one.too_small
    ]


def _keys(values: Mapping[str, int]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in values.items())
