# SPDX-License-Identifier: Apache-2.0
"""Which packs may run in the shadow of another one, and that a probation ends with its engine."""

from __future__ import annotations

import ctypes
import struct
import zlib

import pytest

from tests.support import packs
from tests.support.monitors import Monitored
from tests.support.native import Buffer, Engine, Receipt, Refused, Verdict, check, library
from tests.support.probation_packs import model_of, with_bounds
from tinyfin.oracle.probation import Bounds

WIDE = (0xFFFF, 0xFFFF, 0xFFFF)
RUNNING = packs.build(packs.small())
OTHERS = {**packs.small(), "DECI": packs.decision(3, online=1 << 20)}
IMAGE_BYTES, AT_EVENTS, AT_PARENT_ALERTS = 72, 60, 62


def bounds(**how: int) -> Bounds:
    return Bounds(model_of(RUNNING), (1, 2, 3), (1, 2, 3), ((9, *WIDE),), **how)


def candidate(**parts: bytes | None) -> bytes:
    """A pack with bounds to replace RUNNING; a part that is None is left out."""
    held = {tag: part for tag, part in {**OTHERS, **parts}.items() if part is not None}
    return with_bounds(packs.build(held), bounds(trial_events=9))


GOOD = candidate()
LARGER = candidate(PLAN=packs.plan(3, 90), GOLD=None)


def possible(engine: Engine, pack: bytes, size: int | None = None) -> int:
    held = Buffer.of(pack)
    size_t = ctypes.c_size_t(len(pack) if size is None else size)
    return int(engine.lib.tfin_probation_possible(engine._engine, held, size_t))


class Begun:
    """The probation of a pack, in the shadow of RUNNING or by itself."""

    def __init__(self, engine: Engine, shadow: bytes | None = None) -> None:
        self.lib, self.buffer = library(), Buffer(256)
        if shadow is None:
            rc = self.lib.tfin_probation_trial(self.buffer, engine._engine)
        else:
            self.receipt = Receipt(shadow)
            rc = self.lib.tfin_probation_shadow(self.buffer, engine._engine, self.receipt.buffer)
        check(rc, self.lib)

    def image(self) -> bytes:
        image = ctypes.create_string_buffer(IMAGE_BYTES)
        assert self.lib.tfin_probation_export(self.buffer, image) == 0
        return image.raw

    def count(self, verdict: Verdict) -> int:
        """Events counted so far, after this one."""
        assert self.lib.tfin_probation_count(self.buffer, ctypes.byref(verdict)) == 0
        return int(struct.unpack_from("<H", self.image(), AT_EVENTS)[0])


def test_what_can_begin_is_what_begins() -> None:
    """What is not possible is not in shadow at the next start either: it would be given up."""
    engine = Engine(RUNNING)
    assert possible(engine, GOOD) == 1
    Begun(engine, GOOD)
    assert possible(engine, LARGER) == 0
    with pytest.raises(Refused, match="TFIN_E_MEMORY"):
        Begun(engine, LARGER)
    for other in (
        candidate(PLAN=None, MAPS=None, READ=None, CALI=None, DECI=None, GOLD=None),
        packs.build(OTHERS),
    ):
        assert possible(engine, other) == 0
        with pytest.raises(Refused):
            Begun(engine, other)


@pytest.mark.parametrize("at", range(224, 240))
def test_a_pack_that_was_damaged_since_is_not_walked_past_its_end(at: int) -> None:
    engine = Engine(RUNNING)
    for value in (0, 0x7F, 0xFF):
        damaged = bytearray(GOOD)
        damaged[at] = value
        if damaged != GOOD:
            assert possible(engine, bytes(damaged)) == 0
    damaged = bytearray(GOOD)
    struct.pack_into("<H", damaged, 26, 0xFFFF)
    assert possible(engine, bytes(damaged)) == 0
    assert possible(engine, GOOD, len(GOOD) - 16) == 0


@pytest.mark.parametrize("shadow", [True, False])
def test_nothing_is_counted_when_another_pack_is_opened(shadow: bool) -> None:
    """The bounds, maps and network of the one before would be used with another program."""
    engine = Engine(RUNNING if shadow else GOOD, memory_size=1 << 16)
    begun = Begun(engine, GOOD if shadow else None)
    assert begun.count(engine.score(1, 10, packs.RECORD)) == 1
    other = Engine(packs.build(packs.rich()), memory_size=1 << 16)
    ctypes.memmove(engine._engine.address, other._engine.address, 512)
    assert begun.count(other.score(2, 20, packs.RECORD)) == 1


@pytest.mark.parametrize(
    ("level", "amount", "action", "usual"), [(2, 1999, 1, 1), (4, 1999, 0, 1), (0, 10**9, 1, 0)]
)
def test_alerts_of_the_parent_are_those_of_its_usual_thresholds(
    level: int, amount: int, action: int, usual: int
) -> None:
    """The bounds were made of these: where the parent went up a level because a terminal has many
    alerts, a candidate as good as it would leave them."""
    m = Monitored(drift=None)
    parent = m.engine._pack.data
    shadow = with_bounds(
        packs.build(OTHERS), Bounds(model_of(parent), (1, 2, 3), (1, 2, 3), ((9, *WIDE),))
    )
    image = bytearray(m.image())
    image[24 + 14] = level
    struct.pack_into("<I", image, 8, zlib.crc32(image[24:]))
    m.take(bytes(image))
    begun = Begun(m.engine, shadow)
    verdict = m._score(m.clock, struct.pack("<IIqQii", 15, 0, amount, 7, 1, 2))
    assert verdict.action == action
    begun.count(verdict)
    assert struct.unpack_from("<H", begun.image(), AT_PARENT_ALERTS)[0] == usual
