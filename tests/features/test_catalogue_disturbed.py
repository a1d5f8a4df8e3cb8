# SPDX-License-Identifier: Apache-2.0
"""The whole catalogue on streams in which everything goes wrong: engine and twin are the oracle's.

Controls: every disturbance is counted where it happens, a stream without one is noticed, and every
operator of the program, wrong by one where it stands, changes a feature.
"""

from __future__ import annotations

import struct
from collections import Counter

import pytest
from hypothesis import given, settings

from tests.oracle import payments
from tests.oracle.streams import SETTINGS, Clock, Step, compare
from tests.oracle.twin_terminal import TwinTerminal
from tests.support.native import NativeTerminal
from tests.support.packs import pack
from tinyfin.features.catalogue import ALL
from tinyfin.formats import ProgramHeader
from tinyfin.schema import PAYMENT

PROGRAM = payments.program()
LONG = [payments.stream(seed, 260) for seed in (1, 2)]
"""Streams that are long enough for all that happens rarely."""


@settings(SETTINGS, max_examples=20)
@given(steps=payments.streams())
def test_the_engine_on_random_streams(steps: list[Step]) -> None:
    compare(NativeTerminal, PROGRAM.payload, steps, PAYMENT)


@pytest.mark.parametrize("steps", LONG, ids=["1", "2"])
def test_the_twin_on_long_streams(steps: list[Step]) -> None:
    compare(TwinTerminal, PROGRAM.payload, steps, PAYMENT)


def test_every_disturbance_happens() -> None:
    reached: Counter[str] = Counter()

    @settings(SETTINGS, max_examples=20, derandomize=True, database=None)
    @given(steps=payments.streams())
    def run(steps: list[Step]) -> None:
        reached.update(payments.happened(PROGRAM.payload, steps))

    run()
    assert payments.lacking(reached) == [], "in the random streams"
    for steps in LONG:
        assert payments.lacking(payments.happened(PROGRAM.payload, steps)) == []


MISSED = {
    "time jump": ("jump",),
    "clock back": ("back", "far"),
    "too far ahead": ("far",),
    "refused ahead": ("far",),
    "clock set": ("set",),
    "duplicate score": ("again",),
    "duplicate outcome": ("answer", "far", "set"),
    "duplicate notice": ("notice twice", "notice", "late notice", "far"),
    "lost outcome": ("attempt", "again", "far", "set"),
    "late notice": ("late notice", "notice", "notice twice", "far"),
    "label overflow": ("late notice", "notice", "notice twice", "far"),
    "saturation": ("wild", "sale", "attempt", "back", "jump", "again"),
    "reboot": ("reboot", "jump"),
    "erasure": ("erase",),
}


@pytest.mark.parametrize("name", payments.DISTURBANCES)
def test_a_stream_without_a_disturbance_is_noticed(name: str) -> None:
    """Negative control of the counting: leave out what brings it about."""
    if name == "eviction":
        steps = [(*s[:4], (s[4][0], 7, *s[4][2:]), s[5]) if s[0] == "score" else s for s in LONG[0]]
    else:
        steps = payments.stream(1, 260, without=MISSED[name])
    assert name in payments.lacking(payments.happened(PROGRAM.payload, steps), least=1)


def broken(payload: bytes, number: int, how: str) -> bytes:
    """The program with operator ``number`` wrong by one, or stuck at 0, where it stands."""
    header = ProgramHeader.read(payload)
    late = number >= header.score_operators
    at = header.score_at + 24 * number
    if late:
        at = header.outcome_at + 24 * (number - header.score_operators)
    out = payload[at + 2]
    code, a, p0 = {"by one": (12, out, 1), "stuck": (3, 255, 0)}[how]  # ADD, CONST
    extra = struct.pack("<8BIiiHH", code, 0, out, a, 255, 255, 0, 0, 0, p0, 0, 0, 0)
    words = list(struct.unpack_from("<5I", payload, 32))
    words = [w + 24 if i >= (2 if late else 1) else w for i, w in enumerate(words)]
    counts = [header.score_operators + (not late), header.outcome_operators + late]
    head = bytearray(payload[:64])
    struct.pack_into("<2H", head, 4, *counts)
    struct.pack_into("<5I", head, 32, *words)
    return bytes(head) + payload[64 : at + 24] + extra + payload[at + 24 :]


def features_of(payload: bytes, steps: list[Step]) -> list[tuple[int, ...]]:
    """Features of every score of a stream, on the twin."""
    terminal = TwinTerminal(pack(PAYMENT, payload))
    clock = Clock()
    rows = []
    for step in steps:
        match step:
            case ("start", at):
                clock = Clock(at)
            case ("far", far):
                clock.wrong(far)
            case ("rebase", leap):
                terminal.rebase_time(clock.step(leap))
            case ("reboot",):
                terminal.import_state(terminal.export_state())
            case ("score", leap, id, local, values, present):
                terminal.score(id, clock.step(leap), local, values, present)
                rows.append(terminal.features())
            case ("outcome", leap, id, result, response, action):
                terminal.outcome(id, clock.step(leap), result, response, action)
            case ("notice", leap, id, token, back, fraud):
                now = clock.step(leap)
                terminal.notice(id, token, now, now - back, fraud)
    return rows


def test_every_operator_of_every_feature_matters() -> None:
    """Each operator in turn is broken where it stands, and a feature changes. One too many does
    not change numbers that are only compared with one another (hashes): those are stuck at 0."""
    header = ProgramHeader.read(PROGRAM.payload)
    right = features_of(PROGRAM.payload, LONG[0])
    told: set[int] = set()
    silent = []
    for number in range(header.score_operators + header.outcome_operators):
        differing: set[int] = set()
        for how in ("by one", "stuck"):
            wrong = features_of(broken(PROGRAM.payload, number, how), LONG[0])
            differing = {
                i
                for a, b in zip(right, wrong, strict=True)
                if a != b
                for i in range(len(a))
                if a[i] != b[i]
            }
            if differing:
                break
        told |= differing
        if not differing:
            silent.append(f"{number} {PROGRAM.operators[number]}")
    assert silent == []
    assert {ALL[i] for i in told} == set(ALL)
