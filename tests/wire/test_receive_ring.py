# SPDX-License-Identifier: Apache-2.0
"""Bytes that come in while the engine is busy wait in a ring; what is lost is counted."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.native import WARNINGS, compiler
from tests.support.process import call
from tinyfin import paths
from tinyfin.hil.links.session import emulated
from tinyfin.targets import build as building
from tinyfin.targets import catalogue

pytestmark = pytest.mark.live

SIZE = 16
BOOT_DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    out = tmp_path_factory.mktemp("ring") / "ring.so"
    ports = paths.firmware_dir() / "ports"
    flags = ["-std=c99", *WARNINGS, "-O2", "-shared", "-fPIC", f"-I{ports}"]
    flags += [f"-DTFIN_PORT_RECEIVE_BYTES={SIZE}"]
    call(compiler(), *flags, ports / "common" / "ring.c", "-o", out)
    return ctypes.CDLL(str(out))


def test_the_ring_holds_what_it_announces_and_counts_the_rest(ring: ctypes.CDLL) -> None:
    lost = ring.tfin_ring_overruns()
    for turn in range(5000):  # the 16-bit counters wrap
        assert ring.tfin_ring_get() == -1
        for i in range(SIZE):
            ring.tfin_ring_put((turn + i) & 0xFF)
        assert [ring.tfin_ring_get() for _ in range(SIZE)] == [
            (turn + i) & 0xFF for i in range(SIZE)
        ]
    assert ring.tfin_ring_overruns() == lost
    for i in range(SIZE + 3):
        ring.tfin_ring_put(i)
    ring.tfin_ring_overrun()
    assert ring.tfin_ring_overruns() == lost + 4
    assert [ring.tfin_ring_get() for _ in range(SIZE + 1)] == [*range(SIZE), -1]


@pytest.mark.parametrize(
    ("name", "credit"), [("stm32f405", 4096), ("stm32vldiscovery", 128), ("cortex-m4", 4096)]
)
def test_frames_under_way_arrive_whole(name: str, credit: int, tmp_path: Path) -> None:
    """Without ticks the host keeps as much under way as HELLO announces.

    What is counted before the first connection is not the ring's: a UART that is not yet enabled
    drops the beginning of a greeting.
    """
    pack = tmp_path / "model.tfpack"
    data = paths.project_dir() / "models" / "payment" / "model.tfpack"
    pack.write_bytes(data.read_bytes())
    target = catalogue.get(name)
    image = building.build(target, pack=pack)
    with emulated(target, image.elf, icount=False) as session:
        session.client.connect(BOOT_DEADLINE_S)
        before = session.client.stats()
        result = sample.replayed(session.client, pack.read_bytes(), limit=400, target=name)
        assert session.client.hello.credit_bytes == credit
        stats = session.client.stats()
    result.check()
    assert result.verdicts == 400
    assert result.retransmitted == 0
    for count in ("receive_overruns", "frames_damaged"):
        assert stats[count] == before[count], count
