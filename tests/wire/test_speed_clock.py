# SPDX-License-Identifier: Apache-2.0
"""A terminal gives a new speed one second, by a clock that the test moves."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.native import LIBRARY, SOURCES, TEST, WARNINGS, compiler
from tests.support.process import ROOT, call
from tinyfin.codegen.emit import emit
from tinyfin.wire import messages as m
from tinyfin.wire.frames import encode_frame

pytestmark = pytest.mark.xdist_group("speed_clock")

SECOND_US = 1_000_000
STEP_US = 10_000
TURNS = 20_000
FIRST, FAST = 115_200, 921_600
HELLO = encode_frame(m.Request.HELLO_REQUEST, 1, bytes([m.VERSION, 7, 0, 0, 0, 0, 0]))


class Terminal:
    """The application on a clock and a UART that are variables."""

    def __init__(self, library: Path) -> None:
        self._c = ctypes.CDLL(str(library))
        self._now = ctypes.c_uint32.in_dll(self._c, "now_us")
        self._baud = ctypes.c_uint32.in_dll(self._c, "line_baud")
        self._c.tfin_wire_start()

    @property
    def baud(self) -> int:
        return self._baud.value

    def wait(self, us: int, step_us: int = STEP_US) -> None:
        """Look at the line while so much time passes."""
        for _ in range(us // step_us):
            self._now.value += step_us
            self._c.tfin_wire_idle()

    def idle(self) -> bool:
        """Whether it lets the core sleep."""
        return not self._c.tfin_wire_idle()

    def take(self, data: bytes) -> None:
        for byte in data:
            self._c.tfin_wire_byte(byte)

    def ask_for(self, baud: int) -> None:
        self.take(encode_frame(m.Request.SPEED_REQUEST, 2, baud.to_bytes(4, "little")))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speed")
    emit(sample.make_pack(), folder / "generated")
    firmware = ROOT / "firmware"
    names = ("bytes", "events", "frame", "terminal", "wire")
    sources = [firmware / "src" / f"{name}.c" for name in names]
    sources += [
        *SOURCES,
        TEST / "port_accept.c",
        TEST / "speed_clock.c",
        firmware / "ports/host/no_stack.c",
    ]
    sources.append(folder / "generated" / "tinyfin_pack.c")
    includes = [folder / "generated", firmware / "src", firmware / "ports", LIBRARY / "include"]
    flags = ["-std=c99", "-O0", "-fPIC", "-shared", *WARNINGS]
    flags.append(f"-DTFIN_PORT_SEND_TURNS={TURNS}u")
    flags += [f"-I{path}" for path in (*includes, TEST)]
    call(compiler(), *flags, *sources, "-o", folder / "terminal.so")
    return folder / "terminal.so"


@pytest.fixture
def terminal(library: Path, tmp_path: Path) -> Terminal:
    """A library of its own for each test, with variables of its own."""
    own = tmp_path / "terminal.so"
    own.write_bytes(library.read_bytes())
    terminal = Terminal(own)
    terminal.take(b"\0" + HELLO)
    return terminal


def test_a_second_without_a_frame_and_it_is_back(terminal: Terminal) -> None:
    terminal.ask_for(FAST)
    assert terminal.baud == FAST
    assert not terminal.idle(), "a core that sleeps would not see the time pass"
    terminal.wait(SECOND_US - 2 * STEP_US)
    assert terminal.baud == FAST
    terminal.wait(3 * STEP_US)
    assert terminal.baud == FIRST
    assert terminal.idle()


def test_a_frame_keeps_it(terminal: Terminal) -> None:
    terminal.ask_for(FAST)
    terminal.wait(SECOND_US // 2)
    terminal.take(HELLO)
    assert terminal.idle()
    terminal.wait(20 * SECOND_US)
    assert terminal.baud == FAST, "silence is no doubt"


def test_noise_brings_it_back_a_second_later(terminal: Terminal) -> None:
    """Another program has opened the port, at the first speed."""
    terminal.ask_for(FAST)
    terminal.take(HELLO)
    terminal.take(b"\x55")
    assert not terminal.idle()
    terminal.wait(SECOND_US // 2)
    terminal.take(b"\x55\0\x55")
    terminal.wait(SECOND_US // 2 - 2 * STEP_US)
    assert terminal.baud == FAST
    terminal.wait(3 * STEP_US)
    assert terminal.baud == FIRST


def test_noise_that_never_pauses_brings_it_back(terminal: Terminal) -> None:
    terminal.ask_for(FAST)
    for _ in range(SECOND_US // STEP_US + 1):
        terminal._now.value += STEP_US
        terminal.take(b"\x55")
    assert terminal.baud == FIRST


def test_a_counter_that_wraps(terminal: Terminal) -> None:
    terminal._now.value = 0xFFFFFF - SECOND_US // 2
    terminal.ask_for(FAST)
    terminal.wait(SECOND_US - 2 * STEP_US)
    assert terminal.baud == FAST
    terminal.wait(3 * STEP_US)
    assert terminal.baud == FIRST


def test_a_counter_that_stands_still_ends_the_wait_all_the_same(terminal: Terminal) -> None:
    terminal.ask_for(FAST)
    looks = 0
    while terminal.baud == FAST and looks < 2 * TURNS:
        looks += 1
        terminal.idle()
    assert looks == TURNS


def test_a_counter_that_is_slower_than_the_looks(terminal: Terminal) -> None:
    """Many looks within one tick are no time."""
    terminal.ask_for(FAST)
    for _ in range(TURNS // 100):
        for _ in range(50):
            terminal.idle()
        terminal._now.value += 1
    assert terminal.baud == FAST


def test_noise_at_the_first_speed_keeps_no_core_awake(terminal: Terminal) -> None:
    terminal.take(b"\x55\x55")
    assert terminal.idle()
