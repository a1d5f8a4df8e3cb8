# SPDX-License-Identifier: Apache-2.0
"""A pack in shadow, and on trial: its counts are the oracle's, and nobody else sees it."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import packs, sample
from tests.support.probation_packs import (
    cuts_of,
    events,
    model_of,
    scored,
    settle,
    verdicts,
    with_bounds,
)
from tinyfin.errors import InputError, PackError
from tinyfin.field.probation import parse_image
from tinyfin.formats import PROBATION_RESULTS
from tinyfin.oracle.probation import Bounds, Counts
from tinyfin.pack.container import parse_pack
from tinyfin.twin import Twin
from tinyfin.twin.probation import Probation

RUNNING, OTHER = sample.make_pack(), sample.make_pack(2)
SATURATED = 2
WIDE = (0xFFFF, 0xFFFF, 0xFFFF)


def bounds(looks: tuple[tuple[int, int, int, int], ...] = ((200, *WIDE),), **how: int) -> Bounds:
    return Bounds(model_of(RUNNING), cuts_of(RUNNING), cuts_of(OTHER), looks, **how)


def oracle(of: Bounds, candidate: bytes, number: int, phase: int = 1) -> Counts:
    """What the first ``number`` events come to."""
    counts = Counts(of, parse_pack(candidate).pack_id, phase)
    for mine, its in list(zip(verdicts(RUNNING), verdicts(OTHER), strict=True))[:number]:
        if phase == 1:
            counts.shadow(mine.score_q32, mine.action != 0, its.raw, its.score_q32, its.action)
        else:
            counts.trial(its.action, bool(its.flags & SATURATED))
    return counts


def in_shadow(candidate: bytes, number: int) -> tuple[Twin, Probation]:
    twin = Twin(RUNNING)
    probation = Probation(twin, 0, candidate)
    for event, alone in list(zip(events(), verdicts(RUNNING), strict=True))[:number]:
        verdict = twin.score(0, *event)
        probation.count(verdict)
        settle(twin, event)
        assert verdict == alone
    return twin, probation


numbers = st.one_of(st.integers(0, 60), st.just(0xFFFF))


@st.composite
def some_bounds(draw: st.DrawFn) -> Bounds:
    def cuts(pack: bytes) -> tuple[int, ...]:
        seen = sorted({verdict.score_q32 for verdict in verdicts(pack)})
        found = draw(st.lists(st.sampled_from(seen), min_size=3, max_size=3, unique=True))
        return tuple(sorted(found))

    ends = sorted(draw(st.sets(st.integers(1, 150), min_size=1, max_size=4)))
    return Bounds(
        model_of(RUNNING),
        cuts(RUNNING),
        cuts(OTHER),
        tuple((end, draw(numbers), draw(numbers), draw(numbers)) for end in ends),
        draw(st.integers(0, 3)),
        alerts_more=draw(numbers),
        alerts_factor_q8=draw(st.integers(0, 600)),
        trial_events=draw(st.integers(1, 150)),
        trial_alerts=draw(numbers),
        trial_saturated=draw(numbers),
    )


@settings(max_examples=60, deadline=None)
@given(some_bounds(), st.integers(1, 160))
def test_the_counts_are_the_oracles(of: Bounds, number: int) -> None:
    candidate = with_bounds(OTHER, of)
    _, probation = in_shadow(candidate, number)
    expected = oracle(of, candidate, number)
    assert probation.image() == expected.image()
    assert probation.result == PROBATION_RESULTS[expected.result]
    assert probation.advances == (probation.result == "passed" and bool(of.flags & 1))


@settings(max_examples=40, deadline=None)
@given(some_bounds(), st.integers(1, 160))
def test_a_trial_is_the_oracles(of: Bounds, number: int) -> None:
    candidate = with_bounds(OTHER, of)
    twin = Twin(candidate)
    probation = Probation(twin, 0)
    ended = [probation.count(scored(twin, event)) for event in events()[:number]]
    expected = oracle(of, candidate, number, phase=2)
    assert probation.image() == expected.image()
    assert sum(ended) == (expected.result != 1)
    assert probation.advances == (probation.result == "passed" and bool(of.flags & 2))


def test_nobody_sees_the_shadow() -> None:
    """Verdicts (compared by in_shadow) and state are those of before; the shadow's own bytes are
    those of the same pack when it runs."""
    of = bounds(((300, *WIDE),))
    candidate = with_bounds(OTHER, of)
    twin, probation = in_shadow(candidate, 300)
    alone = Twin(RUNNING)
    for event in events()[:300]:
        scored(alone, event)
    assert twin.export_state(0) == alone.export_state(0)
    state = parse_image(probation.image())
    assert state is not None
    assert (state.events, state.digest) == (300, oracle(of, candidate, 300).digest)
    assert verdicts(RUNNING)[:300] != verdicts(OTHER)[:300], "the packs must differ"
    assert sum(map(sum, state.table)) == 300


@pytest.mark.parametrize("phase", [1, 2])
def test_an_image_goes_on_where_it_was(phase: int) -> None:
    of = bounds(((40, *WIDE), (90, *WIDE)), trial_events=90)
    candidate = with_bounds(OTHER, of)

    def begun() -> tuple[Twin, Probation]:
        twin = Twin(RUNNING if phase == 1 else candidate)
        return twin, Probation(twin, 0, candidate if phase == 1 else None)

    twin, probation = begun()
    for number, event in enumerate(events()[:90]):
        if number in (17, 55):
            image, state = probation.image(), twin.export_state(0)
            twin, probation = begun()
            twin.import_state(0, state)
            probation.take(image)
        probation.count(scored(twin, event)) if phase == 2 else _count(twin, probation, event)
    assert probation.result == "passed"
    assert probation.image() == oracle(of, candidate, 90, phase).image()


def _count(twin: Twin, probation: Probation, event: tuple) -> None:
    probation.count(twin.score(0, *event))
    settle(twin, event)


def test_every_damaged_image_is_refused() -> None:
    candidate = with_bounds(OTHER, bounds())
    _, probation = in_shadow(candidate, 20)
    image = probation.image()
    for at in range(len(image)):
        changed = bytearray(image)
        changed[at] ^= 1 << at % 8
        with pytest.raises(InputError, match="refused"):
            probation.take(bytes(changed))
        assert probation.image() == image
    with pytest.raises(InputError):
        parse_image(image[:-1])
    for at in range(len(image)):
        changed = bytearray(image)
        changed[at] ^= 1 << at % 8
        with pytest.raises(InputError):
            parse_image(bytes(changed))


def _forged(image: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(image)
    struct.pack_into("<" + form, changed, at, value)
    struct.pack_into("<I", changed, 8, zlib.crc32(changed[16:]))
    return bytes(changed)


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (16, "B", 7),
        (24, "H", 9),
        (60, "H", 500),
        (62, "H", 99),
        (64, "H", 99),
        (66, "H", 99),
        (68, "B", 2),
        (69, "B", 0),
        (69, "B", 2),
        (69, "B", 8),
        (70, "H", 2),
        (70, "H", 1),
    ],
)
def test_an_image_that_cannot_be_is_refused(at: int, form: str, value: int) -> None:
    """Its checksum is right: of another pack, another phase, or with counts that no events make."""
    candidate = with_bounds(OTHER, bounds(((40, *WIDE), (200, *WIDE))))
    _, probation = in_shadow(candidate, 20)
    image = probation.image()
    probation.take(_forged(image, at, form, struct.unpack_from("<" + form, image, at)[0]))
    with pytest.raises(InputError, match="another feature program"):
        probation.take(_forged(image, at, form, value))
    assert probation.image() == image


@pytest.mark.parametrize(("number", "at", "value"), [(40, 70, 0), (200, 70, 1)])
def test_an_image_is_not_past_a_look_that_it_did_not_take(number: int, at: int, value: int) -> None:
    """It would come to no look any more, and the shadow would never end."""
    candidate = with_bounds(OTHER, bounds(((40, *WIDE), (200, *WIDE))))
    _, probation = in_shadow(candidate, number)
    image = probation.image()
    probation.take(image)
    with pytest.raises(InputError, match="another feature program"):
        probation.take(_forged(image, at, "H", value))


def refused(running: bytes, candidate: bytes | None) -> str:
    with pytest.raises(PackError) as error:
        Probation(Twin(running), 0, candidate)
    return str(error.value)


def test_what_cannot_be_a_shadow_is_refused() -> None:
    good = bounds()
    assert "TFIN_E_SECTION" in refused(RUNNING, OTHER)
    assert "TFIN_E_SECTION" in refused(RUNNING, None)
    assert "TFIN_E_SECTION" in refused(with_bounds(RUNNING, good), None), "no bounds of a trial"
    assert "TFIN_E_MODEL" in refused(OTHER, with_bounds(RUNNING, good)), "another parent"
    foreign = with_bounds(packs.build(packs.small()), good)
    assert "TFIN_E_STATE_LAYOUT" in refused(RUNNING, foreign)
    damaged = bytearray(with_bounds(OTHER, good))
    damaged[-1] ^= 1
    assert "TFIN_E_DIGEST" in refused(RUNNING, bytes(damaged))


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (20, "I", 0),
        (36, "I", 0),
        (40, "B", 0),
        (40, "B", 2),
        (40, "B", 5),
        (41, "B", 4),
        (52, "I", 1),
        (56, "H", 0),
    ],
)
def test_bounds_that_break_a_rule_are_not_used(at: int, form: str, value: int) -> None:
    payload = bytearray(bounds().payload())
    assert refused(RUNNING, with_bounds(OTHER, bytes(payload[:-1])))
    struct.pack_into("<" + form, payload, at, value)
    assert "TFIN_E_SECTION" in refused(RUNNING, with_bounds(OTHER, bytes(payload)))


def test_looks_must_ascend() -> None:
    payload = bounds(((50, *WIDE), (50, *WIDE))).payload()
    assert "TFIN_E_SECTION" in refused(RUNNING, with_bounds(OTHER, payload))
