# SPDX-License-Identifier: Apache-2.0
"""Ports against registers that are memory: a dead UART ends every wait, a lost byte counts."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.native import compiler
from tests.support.process import call
from tinyfin import paths

TURNS = 100_000
"""How often a port looks for space before it gives up."""


@dataclass(frozen=True)
class Uart:
    """Where a port's UART is, and what its registers say."""

    port: str
    address: int
    data: int = 0
    status: int = 0
    can_send: int = 0
    """Value of the status at which a byte may be sent."""
    received: int = 0
    overrun: int = 0
    interrupt: str = "receive"
    more: tuple[int, ...] = ()
    """Where other registers are that the interrupt looks at."""
    sent: int | None = None
    """Where a byte goes out, if not to ``data``."""
    source: int | None = None
    """Register that says what the loss was, where the status only says that there is one."""
    event: int | None = None
    """Where the UART says that a byte has gone out, if it does that for every byte."""
    defines: tuple[str, ...] = ("F_CPU=24000000L",)


PINS = ("F_CPU=16000000L", "TFIN_PORT_TX=9", "TFIN_PORT_RX=11")
NRF51 = Uart("nrf51", 0x40002000, 0x518, 0x108, 0, 1, 0, defines=PINS)
NRF51 = replace(NRF51, sent=0x51C, source=0x480, event=0x11C)
"""Events in place of a status: a byte came in (0x108), one went out (0x11C), an error (0x124)."""
NRF52 = replace(NRF51, port="nrf52", defines=("F_CPU=64000000L", *PINS[1:]))
NRF51_ERROR, NRF51_UNMASK, NRF51_MASK = 0x124, 0x304, 0x308
RING = 4096

F1 = ("F_CPU=24000000L", "TFIN_PORT_USART=1")
F4 = ("F_CPU=168000000L", "TFIN_PORT_USART=1", "TFIN_PORT_TX=PA9", "TFIN_PORT_RX=PA10")
L4 = ("F_CPU=80000000L", "TFIN_PORT_USART=2", "TFIN_PORT_TX=PA2", "TFIN_PORT_RX=PA3")
H7 = ("F_CPU=400000000L", "TFIN_PORT_USART=3", "TFIN_PORT_TX=PD8", "TFIN_PORT_RX=PD9")
MPS2 = ("TFIN_MPS2_UART=0x40004000u", "TFIN_MPS2_UART_INTERRUPT=0u", "F_CPU=25000000L")
RISCV = Uart("riscv_virt", 0x10000000, 0x00, 0x05, 0x20, 0x01, 0x02, "tfin_riscv_interrupt")
UARTS = [
    Uart("stm32f4", 0x40011000, 0x04, 0x00, 0x80, 0x20, 0x08, defines=F4),
    Uart("stm32f1", 0x40013800, 0x04, 0x00, 0x80, 0x20, 0x08, defines=F1),
    Uart("stm32l4", 0x40004400, 0x24, 0x1C, 0x80, 0x20, 0x08, sent=0x28, defines=L4),
    Uart("stm32h7", 0x40004800, 0x24, 0x1C, 0x80, 0x20, 0x08, sent=0x28, defines=H7),
    replace(RISCV, more=(0x0C200000,)),
    Uart("cmsis_mps2", 0x40004000, 0x00, 0x04, 0x00, 0x02, 0x08, defines=MPS2),
    NRF51,
    NRF52,
]


def build(uart: Uart, folder: Path) -> ctypes.CDLL:
    """The port as a library of this machine; what only its own core understands is left out."""
    firmware = paths.firmware_dir()
    source = (firmware / "ports" / uart.port / "port.c").read_text()
    for name in ("stm32.h", "nrf5.h", "riscv.h"):
        common = (firmware / "ports" / "common" / name).read_text()
        source = source.replace(f'#include "{name}"', common)
    source = re.sub(r"__asm volatile\(.*?\);", ";", source, flags=re.DOTALL)
    # the interrupt is called by the test, and once per byte: memory does not empty itself
    source = source.replace("static uint32_t usart_hz", "uint32_t usart_hz")
    source = source.replace("static void receive", "void receive").replace("while (((", "if (((")
    source = source.replace("while ((TFIN_REG(UART_FLAGS)", "if ((TFIN_REG(UART_FLAGS)")
    # a register that is memory does not say by itself that a byte has gone out
    send = "TFIN_REG(TXD) = data[i];"
    source = source.replace(send, f"{send} gone_out(TXDRDY);")
    (folder / "port.c").write_text(source)
    out = folder / f"{uart.port}.so"
    starts = ", ".join(str(at) for at in (uart.address, *uart.more))
    own = f"REGISTERS={starts}", f'PORT="{folder / "port.c"}"', f"TFIN_PORT_SEND_TURNS={TURNS}u"
    flags = ["-std=c99", "-O2", "-w", "-shared", "-fPIC"]
    flags += [f"-D{define}" for define in (*own, *uart.defines)]
    flags += [f"-I{path}" for path in (firmware / "ports", firmware / "ports" / "common")]
    ring = firmware / "ports" / "common" / "ring.c"
    call(compiler(), *flags, firmware / "test" / "port_registers.c", ring, "-o", out)
    return ctypes.CDLL(str(out))


@pytest.fixture(scope="module", params=UARTS, ids=lambda uart: uart.port)
def uart(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Uart, ctypes.CDLL]:
    return request.param, build(request.param, tmp_path_factory.mktemp("port"))


def set_status(uart: Uart, library: ctypes.CDLL, value: int) -> None:
    where = uart.address + uart.status
    shift = 8 * (where % 4)
    word = library.peek(where & ~3) & ~(0xFF << shift)
    library.poke(where & ~3, (word | value << shift) & 0xFFFFFFFF)


def set_sending(uart: Uart, library: ctypes.CDLL, works: bool) -> None:
    if uart.event is not None:
        library.set_line(works)
    elif uart.can_send == 0:
        set_status(uart, library, 0 if works else 1)
    else:
        set_status(uart, library, uart.can_send if works else 0)


def lose(uart: Uart, library: ctypes.CDLL) -> None:
    """A byte came in, and one before it was lost."""
    set_status(uart, library, uart.received | uart.overrun)
    if uart.source is not None:
        library.poke(uart.address + NRF51_ERROR, 1)
        library.poke(uart.address + uart.source, 1)


def test_a_uart_that_takes_no_byte_is_given_up(uart: tuple[Uart, ctypes.CDLL]) -> None:
    spec, library = uart
    set_sending(spec, library, False)
    start = library.accesses()
    library.tfin_port_write(bytes(1000), 1000)
    assert library.accesses() - start < 1.5 * TURNS, "one wait, not one per byte"
    where = spec.address + (spec.data if spec.sent is None else spec.sent)
    if spec.event is not None:
        assert library.peek(where) == 0, "the first byte of a thousand, and none after it"
    set_sending(spec, library, True)
    library.tfin_port_write(b"ab", 2)
    assert library.peek(where) & 0xFF == ord("b")


def test_a_lost_byte_is_counted_wherever_it_is_seen(uart: tuple[Uart, ctypes.CDLL]) -> None:
    spec, library = uart
    interrupt = getattr(library, spec.interrupt)
    before = library.tfin_port_receive_overruns()
    library.poke(spec.address + spec.data, ord("x"))
    set_status(spec, library, spec.received)
    interrupt()
    assert library.tfin_port_read() == ord("x")
    assert library.tfin_port_receive_overruns() == before
    lose(spec, library)
    interrupt()
    assert library.tfin_port_receive_overruns() == before + 1
    assert library.tfin_port_read() == ord("x")
    assert library.tfin_port_read() == -1
    if spec.port == "riscv_virt":  # whose status forgets the loss once it is read
        set_status(spec, library, spec.can_send | spec.overrun)
        library.tfin_port_write(b"c", 1)
        assert library.tfin_port_receive_overruns() == before + 2


@pytest.mark.parametrize("uart", [NRF51], indirect=True, ids=["nrf51"])
def test_a_full_ring_leaves_the_uart_its_bytes(uart: tuple[Uart, ctypes.CDLL]) -> None:
    """It masks its interrupt, which would come for ever, and loses nothing that fits the UART."""
    _, library = uart
    base = NRF51.address
    lost = library.tfin_port_receive_overruns()
    for i in range(RING):
        library.poke(base + NRF51.data, i & 0xFF)
        set_status(NRF51, library, NRF51.received)
        assert library.peek(base + NRF51_MASK) == 0, i
        library.receive()
    assert library.peek(base + NRF51_MASK) == 4
    library.poke(base + NRF51.data, ord("x"))
    set_status(NRF51, library, NRF51.received)
    library.receive()
    assert library.peek(base + NRF51.status) == NRF51.received, "not taken"
    library.poke(base + NRF51_UNMASK, 0)
    assert library.tfin_port_read() == 0
    assert library.peek(base + NRF51_UNMASK) == 4, "there is space again"
    library.receive()
    assert [library.tfin_port_read() for _ in range(RING - 1)] == [i & 0xFF for i in range(1, RING)]
    assert library.tfin_port_read() == ord("x")
    assert library.tfin_port_receive_overruns() == lost


def test_an_rp2040_gives_a_dead_uart_up_and_counts_what_it_lost(tmp_path: Path) -> None:
    """Its flags say that there is no byte, and a loss comes with the byte behind it."""
    flags, empty, full, lost = 0x40034018, 1 << 4, 1 << 5, 1 << 11
    defines = "F_CPU=125000000L", "TFIN_PORT_UART=0", "TFIN_PORT_TX=0", "TFIN_PORT_RX=1"
    library = build(Uart("rp2040", 0x40034000, defines=defines), tmp_path)
    library.poke(flags, empty | full)
    start = library.accesses()
    library.tfin_port_write(bytes(1000), 1000)
    assert library.accesses() - start < 1.5 * TURNS, "one wait, not one per byte"
    library.poke(flags, empty)
    library.tfin_port_write(b"ab", 2)
    assert library.peek(0x40034000) == ord("b")
    library.receive()
    assert library.tfin_port_read() == -1, "no byte"
    library.poke(flags, 0)
    library.poke(0x40034000, lost | ord("x"))
    library.receive()
    assert library.tfin_port_receive_overruns() == 1
    assert library.tfin_port_read() == ord("x")
    assert library.tfin_port_read() == -1


@dataclass(frozen=True)
class Speeds:
    """What a port's UART makes of a speed, as its reference manual says it."""

    divisors: dict[int, int]
    """Speed to the register's value."""
    refused: tuple[int, ...]
    idle: int
    """Value of the status when the last byte has left; 0 where the port waits in another way."""


SPEEDS = {
    # USARTDIV in sixteenths is clock / baud: 84 MHz of APB2; 16 at least
    "stm32f4": Speeds({115_200: 729, 921_600: 91, 3_000_000: 28}, (5_500_000, 0, 1000), 0xC0),
    # the same at 24 MHz; 921600 would be 24e6 / 26 = 923,077
    "stm32f1": Speeds({115_200: 208, 460_800: 52, 921_600: 26}, (2_000_000, 0, 300), 0xC0),
    # 16550: 3.6864 MHz / 16 / baud, in two bytes
    "riscv_virt": Speeds({115_200: 2, 230_400: 1, 600: 384}, (460_800, 160_000, 0), 0x60),
    # clock / baud, 16 at least
    "cmsis_mps2": Speeds({115_200: 217, 921_600: 27, 1_500_000: 17}, (2_000_000, 0), 0),
    # 80 MHz; 16 at least, 65535 at most
    "stm32l4": Speeds({115_200: 694, 921_600: 87, 4_000_000: 20}, (5_500_000, 0, 1000), 0xC0),
    # 100 MHz of a peripheral bus
    "stm32h7": Speeds({115_200: 868, 921_600: 109, 3_000_000: 33}, (6_500_000, 0, 1000), 0xC0),
    # the reference manual's table, to the 4096 that the chip keeps clear
    "nrf51": Speeds(
        {115_200: 0x01D7E000, 921_600: 0x0EBEE000, 1_000_000: 0x10000000}, (1_500_000, 300, 0), 0
    ),
}
SPEEDS["nrf52"] = SPEEDS["nrf51"]
DIVISOR_AT = {
    "stm32l4": 0x0C,
    "stm32h7": 0x0C,
    "nrf52": 0x524,
    "stm32f4": 0x08,
    "stm32f1": 0x08,
    "cmsis_mps2": 0x10,
    "nrf51": 0x524,
}


def divisor(spec: Uart, library: ctypes.CDLL) -> int:
    if spec.port == "riscv_virt":  # memory has kept what was written while the divisor was open
        return int(library.peek(spec.address)) & 0xFFFF
    return int(library.peek(spec.address + DIVISOR_AT[spec.port]))


def clocked(spec: Uart, library: ctypes.CDLL) -> Speeds:
    if spec.port.startswith("stm32"):
        hz = {"stm32f4": 84, "stm32f1": 24, "stm32l4": 80, "stm32h7": 100}[spec.port] * 1_000_000
        ctypes.c_uint32.in_dll(library, "usart_hz").value = hz
    speeds = SPEEDS[spec.port]
    set_status(spec, library, speeds.idle)
    return speeds


def test_a_speed_is_set_as_the_manual_says(uart: tuple[Uart, ctypes.CDLL]) -> None:
    spec, library = uart
    speeds = clocked(spec, library)
    for baud, value in speeds.divisors.items():
        assert library.tfin_port_set_baud(baud) == 1, baud
        assert divisor(spec, library) == value, baud
    if spec.port == "riscv_virt":
        assert library.peek(spec.address) >> 24 == 3, "8N1, and the data register is back"


def test_a_speed_that_the_clock_cannot_make_changes_nothing(uart: tuple[Uart, ctypes.CDLL]) -> None:
    spec, library = uart
    speeds = clocked(spec, library)
    assert library.tfin_port_set_baud(115_200) == 1
    before = divisor(spec, library)
    for baud in speeds.refused:
        assert library.tfin_port_set_baud(baud) == 0, baud
        assert divisor(spec, library) == before, baud


WAITING = [one for one in UARTS if one.event is None]
"""An nRF51 port's tfin_port_write returns when the byte has left."""


@pytest.mark.parametrize("uart", WAITING, indirect=True, ids=lambda uart: uart.port)
def test_the_last_byte_leaves_before_the_speed_changes(uart: tuple[Uart, ctypes.CDLL]) -> None:
    """A line that never gets idle is given up, and keeps its speed."""
    spec, library = uart
    speeds = clocked(spec, library)
    assert library.tfin_port_set_baud(115_200) == 1
    before = divisor(spec, library)
    busy = 0x80 if spec.port.startswith("stm32") else 0x20 if spec.port == "riscv_virt" else 1
    set_status(spec, library, busy)
    start = library.accesses()
    assert library.tfin_port_set_baud(230_400) == 0
    assert TURNS <= library.accesses() - start < 1.5 * TURNS
    assert divisor(spec, library) == before
    set_status(spec, library, speeds.idle)
    assert library.tfin_port_set_baud(230_400) == 1
