# SPDX-License-Identifier: Apache-2.0
"""Streams of payments with everything that goes wrong in them, and what of it has happened.

A stream that never loses an outcome or evicts a card proves nothing about either: :func:`happened`
counts, on the oracle, what a stream has really done, and :func:`lacking` names what is missing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.oracle.streams import FAR, PAUSES, Clock, Step
from tinyfin.features.catalogue import ALL
from tinyfin.features.compiler import Program, compile_program
from tinyfin.oracle import OracleEngine
from tinyfin.oracle.engine import CLOCK, TIME
from tinyfin.schema import PAYMENT

DAY = 86_400
BEGIN = 800_000_000
TIGHT = {"pending": 3, "card_sets": 2, "card_ways": 2, "terminal_labels": 5, "card_labels": 2}
"""So small that everything runs over."""

DISTURBANCES = (
    "time jump",
    "clock back",
    "duplicate score",
    "duplicate outcome",
    "duplicate notice",
    "lost outcome",
    "late notice",
    "label overflow",
    "eviction",
    "saturation",
    "reboot",
    "erasure",
    "too far ahead",
    "refused ahead",
    "clock set",
)

_VALUES: dict[str, Sequence[int]] = {
    "amount_minor": (0, 1, 50, 199, 200, 201, 1000, 1999, 2000, 2400, 2400, 9999, 250_000),
    "token": (1, 1, 2, 2, 3, 4, 5, 2**64 - 1),
    "tvr": (0, 0, 2**40 - 1, 0x80_0004_8000, 0x40_1008_2040),
    "floor_limit_minor": (0, 2500, 2500, 10_000),
    "queued_minor": (0, 5000, 2**40),
    "stan": (1, 2, 3, 77, 999_998, 999_999),
    "chip_failures": (0, 0, 0, 1, 2),
    "link_downs": (0, 1, 2, 9),
    "boots": (0, 0, 1, 2, 9),
    "atc": (5, 6, 7, 200, 900),
    "bin_hash": (11, 11, 12),
    "expiry_hash": (700, 701, 702, 703),
    "approval_hash": (40, 40, 41),
    "operator_hash": (60, 60, 60, 61),
}
_WILD: dict[str, Sequence[int]] = {
    "amount_minor": (2**45, -5, 2**62, -(2**63), 2**63 - 1),
    "token": (0,),
    "tvr": (-1,),
    "queued_minor": (2**63 - 1, -1),
    "stan": (-(2**31), 2**31 - 1),
    "chip_failures": (2**31 - 1,),
}
_GAPS = (0, 1, 1, 7, 7, 45, 60, 299, 700, 3600)
_TYPES = ("purchase",) * 5 + ("refund", "refund", "void", "forced_post", "preauth")

MOVES = {
    "sale": 12,
    "attempt": 3,
    "again": 1,
    "answer": 2,
    "notice": 5,
    "notice twice": 1,
    "late notice": 2,
    "jump": 1,
    "back": 1,
    "wild": 1,
    "reboot": 1,
    "erase": 1,
    "far": 2,
    "set": 1,
}
"""Moves of a stream, and how often each comes."""


def program(names: Sequence[str] = ALL) -> Program:
    """The catalogue (or some of it) in a terminal that has little memory."""
    return compile_program(list(names), PAYMENT, **TIGHT)


class _Writer:
    def __init__(self) -> None:
        self.steps: list[Step] = [("start", BEGIN)]
        self.now = BEGIN
        self.number = 0
        self.scored: list[tuple[int, int, int]] = []

    def move(self, kind: str, seed: int) -> None:
        rng = random.Random(seed)
        if kind in ("sale", "attempt", "wild"):
            self.number += 1
            self._score(rng, self.number, rng.choice(_GAPS), wild=kind == "wild")
            if kind != "attempt":
                self._answer(rng, self.number, rng.choice((0, 0, 1, 30)))
        elif kind == "jump":
            self.number += 1
            if rng.random() < 0.5:
                self.steps.append(("reboot",))
                self._score(rng, self.number, rng.choice(PAUSES))
            else:
                self._score(rng, self.number, rng.choice((90_000, 9 * DAY)))
            self._answer(rng, self.number, 1)
        elif kind == "back":  # the clock is set back, and right again
            self.number += 1
            back = rng.choice((1, 500, 90_000))
            self._score(rng, self.number, -back)
            self._answer(rng, self.number, back)
        elif kind == "again":
            self.number += 1
            self._score(rng, self.number, 5)
            self._score(rng, self.number, 1)
        elif kind == "answer":
            self._answer(rng, max(1, self.number - rng.randrange(6)), rng.choice((0, 5, 4000)))
        elif kind in ("notice", "notice twice", "late notice") and self.scored:
            self._notice(rng, kind)
        elif kind == "far":
            self.steps.append(("far", rng.choice(FAR)))
            if rng.random() < 0.4:
                self.number += 1
                self._score(rng, self.number, 3)
            else:
                self._answer(rng, self.number, 1)
            if self.scored:
                self.steps.append(("far", rng.choice(FAR)))
                self._notice(rng, "notice")
        elif kind == "set":
            self.steps.append(("rebase", self._leap(rng.choice((1, 5000, PAUSES[1])))))
        elif kind == "reboot":
            self.steps.append(("reboot",))
        elif kind == "erase":
            self.steps.append(("erase", rng.choice(_VALUES["token"])))

    def _leap(self, leap: int) -> int:
        self.now = max(self.now + leap, 0)
        return leap

    def _score(self, rng: random.Random, id: int, leap: int, *, wild: bool = False) -> None:
        self._leap(leap)
        values, present = [], 0
        for i, field in enumerate(PAYMENT.fields):
            pool = _WILD.get(field.name) if wild else None
            if field.name == "transaction_type":
                value = field.values.index(rng.choice(_TYPES))
            elif field.type == "enum":
                value = rng.randrange(-1 if wild else 0, len(field.values))
            else:
                value = rng.choice(pool or _VALUES.get(field.name, (0, 1, 2, 9)))
            values.append(value)
            present |= (rng.random() < 0.93) << i
        local = self.now + rng.choice((0, 0, 0, 3600, -7200)) + rng.choice((0, 0, 6, 11)) * 3600
        self.steps.append(("score", leap, id, local, tuple(values), present))
        self.scored.append((id, self.now, values[PAYMENT.index("token")]))

    def _answer(self, rng: random.Random, id: int, leap: int) -> None:
        result = rng.choice((0, 0, 0, 0, 1, 1, 2, 3, 4))
        response = rng.choice((14, 41, 51, 55, 54)) if result == 1 else rng.choice((-1, 0))
        self.steps.append(("outcome", self._leap(leap), id, result, response, rng.randrange(3)))

    def _notice(self, rng: random.Random, kind: str) -> None:
        early = self.scored[: max(1, len(self.scored) // 3)]
        id, t, token = rng.choice(early if kind == "late notice" else self.scored[-12:])
        leap = self._leap(rng.choice((0, 3, 600)))
        notice = (id, token, self.now - t, rng.randrange(2))
        self.steps.append(("notice", leap, *notice))
        if kind == "notice twice":
            self.steps.append(("notice", 0, *notice))


def steps_of(moves: Iterable[tuple[str, int]]) -> list[Step]:
    """The steps that moves make; each move has a seed of its own."""
    writer = _Writer()
    for kind, seed in moves:
        writer.move(kind, seed)
    return writer.steps


def stream(seed: int, count: int, without: Sequence[str] = ()) -> list[Step]:
    """A stream of so many moves; ``without`` leaves kinds of moves out."""
    rng = random.Random(seed)
    weights = {kind: n for kind, n in MOVES.items() if kind not in without}
    kinds = rng.choices([*weights], [*weights.values()], k=count)
    return steps_of((kind, rng.getrandbits(32)) for kind in kinds)


@st.composite
def streams(draw: Callable[[Any], Any], max_size: int = 40) -> list[Step]:
    """Random streams of payments."""
    kinds = [kind for kind, n in MOVES.items() for _ in range(n)]
    move = st.tuples(st.sampled_from(kinds), st.integers(0, 2**32 - 1))
    return steps_of(draw(st.lists(move, min_size=8, max_size=max_size)))


def happened(payload: bytes, steps: Sequence[Step]) -> Counter[str]:
    """How often each disturbance really happened: what the oracle says, not what was meant."""
    oracle = OracleEngine(payload, PAYMENT)
    found: Counter[str] = Counter()
    clock, newest = Clock(), 0
    for step in steps:
        waiting = {entry.id for entry in oracle.state.pending if entry is not None}
        before = oracle.stats()
        match step:
            case ("start", at):
                clock = Clock(at)
            case ("far", far):
                clock.wrong(far)
            case ("rebase", leap):
                found["clock set"] += oracle.rebase_time(clock.step(leap)) == 0
            case ("score", leap, id, local, values, present):
                now = clock.step(leap)
                last = oracle.state.head["last_t_mono"]
                flags = oracle.score(id, now, local, values, present).flags
                found["duplicate score"] += id in waiting
                found["time jump"] += leap >= DAY
                found["too far ahead"] += bool(flags & CLOCK) and now > last
            case ("outcome", leap, id, result, response, action):
                code = oracle.outcome(id, clock.step(leap), result, response, action)
                found["refused ahead"] += code == TIME
            case ("notice", leap, id, token, back, fraud):
                now = clock.step(leap)
                code = oracle.notice(id, token, now, now - back, fraud)
                found["refused ahead"] += code == TIME
                taken = oracle.stats()["notices"] > before["notices"]
                found["late notice"] += taken and now - back < newest
                newest = max(newest, now - back)
            case ("erase", token):
                slots = [c for ways in oracle.state.cards for c in ways if c is not None]
                oracle.erase_card(token)
                found["erasure"] += any(card.token == token for card in slots)
            case ("reboot",):
                oracle.import_state(oracle.export_state())
                found["reboot"] += bool(waiting)
        after = oracle.stats()
        for counter, name in (
            ("clock_clamps", "clock back"),
            ("unknown_outcomes", "duplicate outcome"),
            ("notice_duplicates", "duplicate notice"),
            ("pending_overflows", "lost outcome"),
            ("label_overflows", "label overflow"),
            ("evictions", "eviction"),
            ("saturations", "saturation"),
        ):
            found[name] += after[counter] > before[counter]
    return found


def lacking(found: Counter[str], least: int = 2) -> list[str]:
    """The disturbances that did not happen ``least`` times."""
    return [name for name in DISTURBANCES if found[name] < least]
