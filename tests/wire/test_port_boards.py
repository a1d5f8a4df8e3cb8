# SPDX-License-Identifier: Apache-2.0
"""What a board file says of clock, UART and pins is what its port sets: against the numbers of the
reference manuals (STM32F4: RM0090, STM32F1: RM0008, STM32L4: RM0351, STM32H7: RM0433, nRF51:
Reference Manual 3.0, nRF52: nRF52840 Product Specification 1.7)."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from tests.wire.test_port_registers import PINS, Uart, build

BAUD = 115_200
# USART: address, RCC enable register and bit, alternate function, bus
F4_USARTS = {
    1: (0x40011000, 0x44, 4, 7, 2),
    2: (0x40004400, 0x40, 17, 7, 1),
    3: (0x40004800, 0x40, 18, 7, 1),
    6: (0x40011400, 0x44, 5, 8, 2),
}
F4_RCC, F4_GPIO, F4_FLASH_ACR, F4_RNG = 0x40023800, 0x40020000, 0x40023C00, 0x50060800
F1_USARTS = {
    1: (0x40013800, 0x18, 14, 2),
    2: (0x40004400, 0x1C, 17, 1),
    3: (0x40004800, 0x1C, 18, 1),
}
F1_RCC, F1_GPIO, F1_FLASH_ACR = 0x40021000, 0x40010800, 0x40022000
L4_USARTS = {1: (0x40013800, 0x60, 14), 2: (0x40004400, 0x58, 17), 3: (0x40004800, 0x58, 18)}
L4_RCC, L4_GPIO = 0x40021000, 0x48000000
H7_USARTS = {
    1: (0x40011000, 0x4F0, 4),
    2: (0x40004400, 0x4E8, 17),
    3: (0x40004800, 0x4E8, 18),
    6: (0x40011400, 0x4F0, 5),
}
H7_RCC_AND_PWR, H7_GPIO, H7_FLASH_ACR, SCB = 0x58024000, 0x58020000, 0x52002000, 0xE000E000
PLL_READY = 1 << 25


def started(
    uart: Uart, folder: Path, more: tuple[int, ...], ready: dict[int, int], *flags: str
) -> ctypes.CDLL:
    """The port after its init, with registers that say what ``ready`` says."""
    spec = Uart(uart.port, uart.address, more=more, defines=(*uart.defines, *flags))
    library = build(spec, folder)
    for address, value in ready.items():
        library.poke(address, value)
    library.tfin_port_init()
    library.peek.restype = ctypes.c_uint32
    return library


def f4(address: int, mhz: int, usart: int, tx: str, rx: str) -> Uart:
    pins = f"TFIN_PORT_TX={tx}", f"TFIN_PORT_RX={rx}"
    return Uart(
        "stm32f4", address, defines=(f"F_CPU={mhz}000000L", f"TFIN_PORT_USART={usart}", *pins)
    )


@pytest.mark.parametrize("mhz", [25, 48, 84, 96, 100, 108, 120, 144, 168])
@pytest.mark.parametrize("usart", F4_USARTS)
def test_an_stm32f4_runs_as_fast_as_the_board_file_says(
    mhz: int, usart: int, tmp_path: Path
) -> None:
    address, enable, bit, _, bus = F4_USARTS[usart]
    uart = f4(address, mhz, usart, "PA9", "PA10")
    ready = {F4_RCC: PLL_READY}
    library = started(uart, tmp_path, (F4_RCC, F4_GPIO), ready, f"SWITCH={F4_RCC + 0x08:#x}u")
    pll = library.peek(F4_RCC + 0x04)
    vco = 16 / (pll & 63) * (pll >> 6 & 511)
    assert 100 <= vco <= 432
    assert vco / (2 * (pll >> 16 & 3) + 2) == mhz
    assert 2 <= pll >> 24 & 15 <= 15
    assert vco / (pll >> 24 & 15) <= 48
    assert library.peek(F4_FLASH_ACR) & 15 == -(-mhz // 30) - 1, "one wait state per 30 MHz"
    config = library.peek(F4_RCC + 0x08)
    buses = {n: mhz / {0: 1, 4: 2, 5: 4, 6: 8}[config >> at & 7] for n, at in ((1, 10), (2, 13))}
    assert buses[1] <= 42
    assert buses[2] <= 84
    assert library.peek(F4_RCC + enable) == 1 << bit
    assert library.peek(address + 0x08) == int(buses[bus] * 1e6 / BAUD + 0.5)
    assert ctypes.c_uint32.in_dll(library, "tfin_port_tick_hz").value == mhz * 1_000_000


@pytest.mark.parametrize(
    ("usart", "tx", "rx"),
    [
        (1, "PA9", "PA10"),
        (1, "PB6", "PB7"),
        (2, "PA2", "PA3"),
        (2, "PD5", "PD6"),
        (3, "PC10", "PC11"),
        (6, "PC6", "PC7"),
        (6, "PG14", "PG9"),
        (6, "PC6", "PG9"),
    ],
)
def test_an_stm32f4_gives_the_usart_its_pins_and_no_others(
    usart: int, tx: str, rx: str, tmp_path: Path
) -> None:
    address, _, _, function, _ = F4_USARTS[usart]
    uart = f4(address, 84, usart, tx, rx)
    library = started(uart, tmp_path, (F4_RCC, F4_GPIO), {F4_RCC: PLL_READY})
    expected: dict[int, int] = {}
    ports = 0
    for pin in (tx, rx):
        at, number = "ABCDEFGH".index(pin[1]), int(pin[2:])
        ports |= 1 << at
        gpio = F4_GPIO + 0x400 * at
        for register, shift, value in (
            (0x00, 2 * number, 2),
            (0x0C, 2 * number, 1),
            (0x20 + number // 8 * 4, 4 * (number % 8), function),
        ):
            expected[gpio + register] = expected.get(gpio + register, 0) | value << shift
    assert library.peek(F4_RCC + 0x30) == ports
    found = {F4_GPIO + at: library.peek(F4_GPIO + at) for at in range(0, 0x2000, 4)}
    assert {at: value for at, value in found.items() if value} == expected


@pytest.mark.parametrize("mhz", [8, 24, 36, 48, 64])
@pytest.mark.parametrize("usart", F1_USARTS)
def test_an_stm32f1_runs_as_the_board_file_says(mhz: int, usart: int, tmp_path: Path) -> None:
    address, enable, bit, bus = F1_USARTS[usart]
    defines = f"F_CPU={mhz}000000L", f"TFIN_PORT_USART={usart}"
    uart = Uart("stm32f1", address, defines=defines)
    library = started(
        uart, tmp_path, (F1_RCC, F1_GPIO), {F1_RCC: PLL_READY}, f"SWITCH={F1_RCC + 0x04:#x}u"
    )
    config = library.peek(F1_RCC + 0x04)
    assert 8 / 2 * ((config >> 18 & 15) + 2) == mhz
    assert library.peek(F1_FLASH_ACR) & 7 == (0 if mhz <= 24 else 1 if mhz <= 48 else 2)
    apb1 = mhz / (2 if config >> 8 & 7 == 4 else 1)
    assert apb1 <= 36
    assert library.peek(F1_RCC + enable) & 1 << bit
    assert library.peek(address + 0x08) == int((mhz if bus == 2 else apb1) * 1e6 / BAUD + 0.5)
    port, pin = {1: (0, 9), 2: (0, 2), 3: (1, 10)}[usart]
    assert library.peek(F1_RCC + 0x18) & 0x1FC == 4 << port
    config_at = F1_GPIO + 0x400 * port + pin // 8 * 4
    assert library.peek(config_at) == 0x4B << 4 * (pin % 8)


@pytest.mark.parametrize(
    ("mhz", "usart"), [*((mhz, 2) for mhz in (32, 34, 48, 50, 64, 66)), (80, 1), (80, 2), (80, 3)]
)
def test_an_stm32l4_runs_as_the_board_file_says(mhz: int, usart: int, tmp_path: Path) -> None:
    address, enable, bit = L4_USARTS[usart]
    pins = "TFIN_PORT_TX=PC4", "TFIN_PORT_RX=PB11"
    uart = Uart(
        "stm32l4", address, defines=(f"F_CPU={mhz}000000L", f"TFIN_PORT_USART={usart}", *pins)
    )
    ready = {L4_RCC: PLL_READY | 1 << 10}
    more = L4_RCC, L4_GPIO, 0x50060000
    library = started(uart, tmp_path, more, ready, f"SWITCH={L4_RCC + 0x08:#x}u")
    assert library.peek(L4_RCC) & 0x01000100 == 0x01000100, "oscillator and PLL on"
    pll = library.peek(L4_RCC + 0x0C)
    vco = 16 / ((pll >> 4 & 7) + 1) * (pll >> 8 & 127)
    assert pll & 3 == 2, "from the 16 MHz oscillator"
    assert 4 <= 16 / ((pll >> 4 & 7) + 1) <= 16
    assert 64 <= vco <= 344
    assert vco / (2 * (pll >> 25 & 3) + 2) == mhz
    assert vco / (2 * (pll >> 21 & 3) + 2) <= 48
    assert pll & (1 << 20 | 1 << 24) == 1 << 20 | 1 << 24, "both outputs on"
    assert library.peek(0x40022000) & 7 == -(-mhz // 16) - 1, "one wait state per 16 MHz"
    assert library.peek(L4_RCC + enable) == 1 << bit
    assert library.peek(L4_RCC + 0x4C) == 1 << 2 | 1 << 1 | 1 << 18, "GPIOC, GPIOB, generator"
    assert library.peek(address + 0x0C) == int(mhz * 1e6 / BAUD + 0.5)
    for at, pin in ((0x800, 4), (0x400, 11)):
        gpio = L4_GPIO + at
        assert library.peek(gpio) == 2 << 2 * pin
        assert library.peek(gpio + 0x20 + pin // 8 * 4) == 7 << 4 * (pin % 8)


@pytest.mark.parametrize(
    ("mhz", "usart"),
    [
        *((mhz, 3) for mhz in (96, 104, 136, 144, 184, 192, 200, 208, 280, 288, 376)),
        *((400, usart) for usart in H7_USARTS),
    ],
)
def test_an_stm32h7_runs_as_the_board_file_says(mhz: int, usart: int, tmp_path: Path) -> None:
    address, enable, bit = H7_USARTS[usart]
    pins = "TFIN_PORT_TX=PD8", "TFIN_PORT_RX=PD9"
    uart = Uart(
        "stm32h7", address, defines=(f"F_CPU={mhz}000000L", f"TFIN_PORT_USART={usart}", *pins)
    )
    base = H7_RCC_AND_PWR
    ready = {base + 0x400: PLL_READY | 1 << 13, base + 0x804: 1 << 13, base + 0x818: 5 << 13}
    more = base, H7_GPIO, H7_FLASH_ACR, 0x48021000, SCB
    switch = f"SWITCH={base + 0x410:#x}u", "SWITCH_BITS=3"
    library = started(uart, tmp_path, more, ready, *switch)
    assert library.peek(base + 0x80C) == 2, "LDO"
    assert library.peek(base + 0x818) >> 14 & 3 == 3, "voltage scale 1"
    reference = 64 / (library.peek(base + 0x428) >> 4 & 63)
    divisors = library.peek(base + 0x430)
    vco = reference * ((divisors & 511) + 1)
    assert 8 <= reference <= 16
    assert library.peek(base + 0x42C) == 3 << 2 | 1 << 16, "its range, and output P"
    assert 192 <= vco <= 836
    assert vco / ((divisors >> 9 & 127) + 1) == mhz
    matrix = mhz / {0: 1, 8: 2}[library.peek(base + 0x418) & 15]
    buses = {library.peek(base + 0x41C) >> at & 7 for at in (4, 8)}
    buses |= {library.peek(base + at) >> 4 & 7 for at in (0x418, 0x420)}
    [prescaler] = buses
    bus = matrix / {0: 1, 4: 2}[prescaler]
    assert matrix <= 200
    assert bus <= 100
    flash = library.peek(H7_FLASH_ACR)
    limits = {0x11: 140, 0x12: 185, 0x22: 210}
    assert matrix <= limits[flash]
    assert library.peek(base + enable) == 1 << bit
    assert library.peek(address + 0x0C) == int(bus * 1e6 / BAUD + 0.5)
    assert library.peek(SCB + 0xD14) == 1 << 17, "the instruction cache"


def test_an_nrf52_takes_pins_of_both_ports_and_its_crystal(tmp_path: Path) -> None:
    defines = "F_CPU=64000000L", "TFIN_PORT_TX=6", "TFIN_PORT_RX=40"
    clock, gpio = 0x40000000, 0x50000000
    more = clock, gpio, 0x4000D000
    uart = Uart("nrf52", 0x40002000, defines=defines)
    library = started(uart, tmp_path, more, {clock + 0x100: 1})
    assert library.peek(clock) == 1
    assert library.peek(0x4000250C) == 6
    assert library.peek(0x40002514) == 32 + 8, "P1.08"
    assert library.peek(gpio + 0x508) == 1 << 6
    assert library.peek(gpio + 0x718) & 1 == 1
    assert library.peek(gpio + 0x300 + 0x720) == 3 << 2
    assert library.peek(0x40002524) == 0x01D7E000


@pytest.mark.parametrize(("crystal", "value"), [(None, None), (16, 0xFF), (32, 0x00)])
def test_an_nrf51_takes_pins_and_crystal(
    crystal: int | None, value: int | None, tmp_path: Path
) -> None:
    flags = () if crystal is None else (f"TFIN_PORT_CRYSTAL_HZ={crystal}000000",)
    uart = Uart("nrf51", 0x40002000, defines=(*PINS, *flags))
    clock, gpio, timer = 0x40000000, 0x50000000, 0x40008000
    ready = {clock + 0x550: 0x55, clock + 0x100: 1}
    library = started(uart, tmp_path, (clock, gpio, timer), ready)
    assert library.peek(gpio + 0x508) == 1 << 9, "an idle line is high"
    assert library.peek(gpio + 0x700 + 4 * 9) & 1 == 1, "an output"
    assert library.peek(gpio + 0x700 + 4 * 11) == 3 << 2, "an input, pulled up"
    assert library.peek(timer) == 1
    assert library.peek(timer + 0x508) == 3, "32 bits"
    library.tfin_port_ticks.restype = ctypes.c_uint32
    library.poke(timer + 0x540, 0x89ABCDEF)
    assert library.tfin_port_ticks() == 0x89ABCDEF
    assert library.peek(timer + 0x40) == 1, "asked for the count"
    assert library.peek(0x4000250C) == 9
    assert library.peek(0x40002514) == 11
    assert library.peek(0x40002524) == 0x01D7E000, "115,200 baud, as the manual's table has it"
    assert library.peek(clock) == (crystal is not None)
    assert library.peek(clock + 0x550) == (0x55 if value is None else value)


def bauds(library: ctypes.CDLL, status: int, ready: int) -> list[int]:
    """What set_baud answers to a speed that is possible, before and after the last byte has left,
    and to one that is not."""
    library.poke(status, 0 if ready else 1 << 3)
    before = library.tfin_port_set_baud(921_600)
    library.poke(status, ready)
    return [before, library.tfin_port_set_baud(921_600), library.tfin_port_set_baud(60_000_000)]


def test_the_speed_of_a_younger_usart_is_changed_when_the_last_byte_has_left(
    tmp_path: Path,
) -> None:
    defines = "F_CPU=80000000L", "TFIN_PORT_USART=2", "TFIN_PORT_TX=PA2", "TFIN_PORT_RX=PA3"
    more = L4_RCC, L4_GPIO, 0x50060000
    ready = {L4_RCC: PLL_READY | 1 << 10}
    uart = Uart("stm32l4", 0x40004400, defines=defines)
    switch = f"SWITCH={L4_RCC + 0x08:#x}u"
    library = started(uart, tmp_path, more, ready, switch)
    assert bauds(library, 0x4000441C, 1 << 6) == [0, 1, 0]
    assert library.peek(0x4000440C) == round(80e6 / 921_600)


def test_the_speed_of_an_rp2040_is_changed_when_the_last_byte_has_left(tmp_path: Path) -> None:
    """Without its oscillator: the UART's clock is then about 6.5 MHz, which allows 57,600."""
    defines = "F_CPU=125000000L", "TFIN_PORT_UART=0", "TFIN_PORT_TX=0", "TFIN_PORT_RX=1"
    more = 0x40008000, 0x4000A000, 0x4000C000, 0x4000E000, 0x40014000, 0x4001C000
    more = (*more, 0x40024000, 0x40026000)
    library = started(Uart("rp2040", 0x40034000, defines=defines), tmp_path, more, {})
    assert bauds(library, 0x40034018, 0) == [0, 0, 0], "6.5 MHz cannot do that"
    assert library.tfin_port_set_baud(57_600) == 1
    divisor = library.peek(0x40034024) + library.peek(0x40034028) / 64
    assert 6.5e6 / 16 / divisor == pytest.approx(57_600, rel=0.01)


def test_the_speed_of_an_nrf52_has_limits(tmp_path: Path) -> None:
    uart = Uart("nrf52", 0x40002000, defines=("F_CPU=64000000L", *PINS[1:]))
    library = build(uart, tmp_path)
    assert [library.tfin_port_set_baud(b) for b in (600, 2_000_000)] == [0, 0]
    assert library.tfin_port_set_baud(1_000_000) == 1
    library.peek.restype = ctypes.c_uint32
    assert library.peek(0x40002524) == 0x10000000, "as the manual's table has it"


@pytest.mark.parametrize(
    ("port", "defines", "words"),
    [
        ("nrf51", ("F_CPU=16000000L",), "lacks the UART's pins"),
        ("nrf51", (*PINS, "TFIN_PORT_CRYSTAL_HZ=8000000"), "crystal of 16000000 or 32000000"),
        ("stm32f4", ("F_CPU=84000000L", "TFIN_PORT_USART=4"), "lacks the UART, 1, 2, 3 or 6"),
        ("stm32f4", ("F_CPU=84000000L", "TFIN_PORT_USART=2"), "lacks the UART's pins"),
        (
            "stm32f4",
            ("F_CPU=180000000L", "TFIN_PORT_USART=2", "TFIN_PORT_TX=PA2", "TFIN_PORT_RX=PA3"),
            "to 168000000L",
        ),
        ("stm32l4", ("F_CPU=80000000L",), "lacks the UART"),
        ("stm32l4", ("F_CPU=80000000L", "TFIN_PORT_USART=2"), "lacks the UART's pins"),
        (
            "stm32l4",
            ("F_CPU=81000000L", "TFIN_PORT_USART=2", "TFIN_PORT_TX=PA2", "TFIN_PORT_RX=PA3"),
            "to 80000000L",
        ),
        ("stm32h7", ("F_CPU=400000000L",), "lacks the UART"),
        ("stm32h7", ("F_CPU=400000000L", "TFIN_PORT_USART=3"), "lacks the UART's pins"),
        (
            "stm32h7",
            ("F_CPU=480000000L", "TFIN_PORT_USART=3", "TFIN_PORT_TX=PD8", "TFIN_PORT_RX=PD9"),
            "to 400000000L",
        ),
        ("nrf52", ("F_CPU=64000000L",), "lacks the UART's pins"),
        ("nrf52", ("F_CPU=32000000L", *PINS[1:]), "runs at 64000000L"),
        ("nrf51", ("F_CPU=32000000L", *PINS[1:]), "runs at 16000000L"),
        ("rp2040", ("F_CPU=125000000L", *PINS[1:]), "lacks the UART or its pins"),
        ("rp2040", ("F_CPU=125000000L", "TFIN_PORT_UART=1"), "lacks the UART or its pins"),
        ("rp2040", ("F_CPU=150000000L", "TFIN_PORT_UART=0", *PINS[1:]), "to 133000000L"),
        ("stm32f1", ("F_CPU=24000000L",), "lacks the UART"),
        ("stm32f1", ("F_CPU=72000000L", "TFIN_PORT_USART=1"), "to 64000000L"),
    ],
)
def test_a_board_file_that_lacks_something_says_what(
    port: str, defines: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=words):
        build(Uart(port, 0x40002000, defines=defines), tmp_path)
