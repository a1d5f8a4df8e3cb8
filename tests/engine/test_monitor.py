# SPDX-License-Identifier: Apache-2.0
"""The monitor in C against the oracle, byte for byte; its image; what it refuses."""

from __future__ import annotations

import ctypes
import struct
import zlib
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import packs
from tests.support.monitors import DAY_S, DRIFT, LEVELS, ONE, USUAL, Monitored, Seen, drift, levels
from tests.support.native import Engine, Refused, Verdict, library

I16 = st.integers(-(2**15), 2**15 - 1)
EDGES = [0, 999, 1000, 1001, (1 << 20) - 1, 1 << 20, (1 << 31) - 1, 1 << 31, 2**32 - 1]
STEPS_S = [0, 1, DAY_S - 1, DAY_S, 3 * DAY_S]


@st.composite
def streams(draw: st.DrawFn) -> list[Seen]:
    """Events, the clock of which steps back now and then."""
    t, out = 1, []
    for _ in range(draw(st.integers(1, 60))):
        t = max(1, t + draw(st.sampled_from([*STEPS_S, -7, -2 * DAY_S])))
        features = draw(st.tuples(*[st.one_of(st.sampled_from([-5, 0, 7, 90]), I16)] * 3))
        score = draw(st.one_of(st.sampled_from(EDGES), st.integers(0, 2**32 - 1)))
        flags = draw(st.sampled_from([0, 0, 0, 2, 4, 4, 16, 32]))
        out.append(Seen(score, features, draw(st.sampled_from([0, 0, 1, 2])), t, flags))
    return out


@st.composite
def ladders(draw: st.DrawFn) -> bytes:
    """LEVL of any numbers; the usual level is DECI's."""
    below = draw(st.integers(0, 3))
    above = draw(st.integers(1, 4))
    pairs = [USUAL] * (below + 1 + above)
    return levels(
        *pairs,
        usual=below,
        target=draw(st.sampled_from([1, ONE // 100, ONE // 3, ONE - 1])),
        events=draw(st.sampled_from([0, 1, 3, 65535])),
        seconds=draw(st.sampled_from([0, 1, DAY_S, 2**32 - 1])),
        limit=draw(st.sampled_from([1, 2, 64])),
    )


@settings(max_examples=60, deadline=None)
@given(streams(), st.one_of(st.just(LEVELS), ladders()), st.sampled_from([DRIFT, None]))
def test_c_counts_as_the_oracle(events: list[Seen], ladder: bytes, counted: bytes | None) -> None:
    both = Monitored(counted, ladder)
    for seen in events:
        both.count(seen)
        assert both.agrees
        assert both.image() == both.oracle.image()
    again = Monitored(counted, ladder)
    again.take(both.image())
    assert again.image() == both.image()


@settings(max_examples=10, deadline=None)
@given(streams())
def test_a_damaged_image_changes_nothing(events: list[Seen]) -> None:
    """Any one bit."""
    m = Monitored()
    for seen in events:
        m.count(seen)
    image, fresh = m.image(), Monitored()
    before = fresh.image()
    for at, bit in product(range(0, len(image), 3), (1, 128)):
        other = bytearray(image)
        other[at] ^= bit
        with pytest.raises(Refused, match="TFIN_E_STATE_"):
            fresh.take(bytes(other))
    assert fresh.image() == before


def test_halving() -> None:
    """The histogram that overflows halves all of them, before the event is counted."""
    m = Monitored(drift([10], (0, [0])), None)
    body = struct.pack("<IIiHBB2H2H", 65535, 0, 0, 0, 0, 0, 65535, 0, 32768, 32767)
    m.take(with_body(m, body))
    m.count(Seen(3, (1, 0, 0), 0, 1))
    expected = struct.pack("<IIiHBB2H2H", 65536, 0, 0, 0, 0, 1, 32768, 0, 16384, 16384)
    assert m.image()[24:] == expected
    m.take(with_body(m, struct.pack("<IIiHBB4H", 2**32 - 1, 0, 0, 0, 0, 255, 65535, 0, 9, 9)))
    m.count(Seen(3, (1, 0, 0), 0, 1))
    assert m.image()[24:] == struct.pack("<IIiHBB4H", 2**32 - 1, 0, 0, 0, 0, 255, 32768, 0, 4, 5)


def with_body(m: Monitored, body: bytes) -> bytes:
    """An image of this pack with a good checksum."""
    head = struct.pack("<IHHII", 0x4E4D4654, 1, 24 + len(body), zlib.crc32(body), 0)
    return head + m.engine.pack_id()[:8] + body


COUNTS = struct.pack("<4H4H2H", 1, 2, 0, 3, 6, 0, 0, 0, 5, 1)
BAD_NUMBERS = {
    "more in a histogram than events": (5, 0, 0, 3, 2, 1, COUNTS),
    "other sums before a halving": (7, 0, 0, 3, 2, 0, COUNTS),
    "a level that is not there": (6, 0, 0, 3, 5, 0, COUNTS),
    "a balance beyond the limit": (6, 0, 4 * ONE + 1, 3, 2, 0, COUNTS),
    "a balance below it": (6, 0, -4 * ONE - 1, 3, 2, 0, COUNTS),
    "more since the step than in all": (6, 0, 0, 7, 2, 0, COUNTS),
}


@pytest.mark.parametrize("name", BAD_NUMBERS)
def test_numbers_that_counting_does_not_give(name: str) -> None:
    m = Monitored()
    before = m.image()
    m.take(with_body(m, struct.pack("<IIiHBB", 6, 0, 0, 3, 2, 0) + COUNTS))
    m.take(before)
    *numbers, counts = BAD_NUMBERS[name]
    with pytest.raises(Refused, match="TFIN_E_STATE_DIGEST"):
        m.take(with_body(m, struct.pack("<IIiHBB", *numbers) + counts))
    assert m.image() == before
    careless = Monitored(lib=library("TFIN_SABOTAGE_COUNTS"))
    careless.take(with_body(careless, struct.pack("<IIiHBB", *numbers) + counts))


def test_images_of_others() -> None:
    m = Monitored()
    image = m.image()
    other = image[:16] + bytes(8) + image[24:]
    for data, error in (
        (other, "LAYOUT"),
        (b"TFSM" + image[4:], "MAGIC"),
        (image[:30], "MAGIC"),
        (image[:4] + b"\2" + image[5:], "FORMAT"),
        (image[:12] + b"\1" + image[13:], "FORMAT"),
        (Monitored(drift([7]), LEVELS).image(), "LAYOUT"),
        (image[:-1], "DIGEST"),
    ):
        with pytest.raises(Refused, match=f"TFIN_E_STATE_{error}"):
            m.take(data)
    assert m.image() == image


def test_the_level_comes_back_with_the_image() -> None:
    m = Monitored()
    for i in range(30):
        m.count(Seen(0, (0, 0, 0), 1, 1 + i * DAY_S))
    assert m.level > 2
    fresh = Monitored()
    fresh.take(m.image())
    high = struct.pack("<IIqQii", 15, 0, 10**11, 7, 1, 2)
    assert (fresh.level, fresh.advise(high)) == (m.level, m.advise(high))


def test_without_sections_and_before_opening() -> None:
    with pytest.raises(Refused, match="TFIN_E_SECTION"):
        Monitored(None, None)
    m = Monitored()
    for size, shift, error in ((m.bytes - 1, 0, "MEMORY"), (m.bytes, 2, "ALIGN")):
        with pytest.raises(Refused, match=f"TFIN_E_{error}"):
            m.open(size, shift)
        with pytest.raises(Refused, match="TFIN_E_CLOSED"):
            m.count(Seen(0, (0, 0, 0), 0, 1))
        assert m.lib.tfin_monitor_size(m.monitor) == m.level == 0
    m.open(m.bytes)
    none = ctypes.c_void_p(None)
    argument, verdict = library().tfin_monitor_count(m.monitor, none), Verdict()
    assert argument == m.lib.tfin_monitor_count(none, ctypes.byref(verdict)) == -1
    m.engine.reset()
    assert m.lib.tfin_monitor_count(m.monitor, ctypes.byref(verdict)) == -1, "nothing was scored"


def test_histograms_of_an_application() -> None:
    m = Monitored()
    for _ in range(3):
        m.count(Seen(1 << 20, (-9, 0, 9), 0, 1))
    found = []
    counts = ctypes.POINTER(ctypes.c_uint16)()
    for index in range(5):
        bins = m.lib.tfin_monitor_histogram(m.monitor, index, ctypes.byref(counts))
        found.append(list(counts[:bins]))
    assert found == [[0, 0, 3, 0], [3, 0, 0, 0], [0, 3], [], []]


def test_features_do_not_leave_memory() -> None:
    """A pack of one more feature than the program has is refused, so no index leads outside."""
    with pytest.raises(Refused, match="TFIN_E_SECTION"):
        Monitored(drift([7], (3, [0])), None)


def test_a_pack_without_features_to_count_is_small() -> None:
    assert Monitored(None, LEVELS).bytes == 16
    assert Monitored(DRIFT, None).bytes == 16 + 2 * (4 + 4 + 2)


def test_a_monitor_ends_when_another_pack_is_opened() -> None:
    """Its sections name features that the other pack may not have, and its thresholds."""
    m = Monitored()
    other = Engine(packs.build({**packs.small(), "DECI": packs.decision(3, online=USUAL[0] + 1)}))
    other.score(1, 1, packs.RECORD)
    held = ctypes.string_at(m.engine._engine.address, 512)
    ctypes.memmove(m.engine._engine.address, other._engine.address, 512)
    with pytest.raises(Refused, match="TFIN_E_CLOSED"):
        m.count(Seen(0, (0, 0, 0), 1, m.clock))
    assert m.lib.tfin_monitor_size(m.monitor) == 0
    ctypes.memmove(m.engine._engine.address, held, 512)
    m.count(Seen(0, (0, 0, 0), 1, m.clock))
