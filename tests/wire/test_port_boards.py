# SPDX-License-Identifier: Apache-2.0
"""What a board file says of clock, UART and pins is what its port sets: against the numbers of the
reference manuals (STM32F4: RM0090, STM32F1: RM0008, nRF51: Reference Manual 3.0)."""

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


@pytest.mark.parametrize(("crystal", "value"), [(None, None), (16, 0xFF), (32, 0x00)])
def test_an_nrf51_takes_pins_and_crystal(
    crystal: int | None, value: int | None, tmp_path: Path
) -> None:
    flags = () if crystal is None else (f"TFIN_PORT_CRYSTAL_HZ={crystal}000000",)
    uart = Uart("nrf51", 0x40002000, defines=(*PINS, *flags))
    clock = 0x40000000
    library = started(uart, tmp_path, (clock,), {clock + 0x550: 0x55, clock + 0x100: 1})
    assert library.peek(0x4000250C) == 9
    assert library.peek(0x40002514) == 11
    assert library.peek(0x40002524) == 0x01D7E000, "115,200 baud, as the manual's table has it"
    assert library.peek(clock) == (crystal is not None)
    assert library.peek(clock + 0x550) == (0x55 if value is None else value)


@pytest.mark.parametrize(
    ("port", "defines", "words"),
    [
        ("nrf51", ("F_CPU=16000000L",), "lacks the UART's pins"),
        ("nrf51", (*PINS, "TFIN_PORT_CRYSTAL_HZ=8000000"), "crystal of 16000000 or 32000000"),
        ("stm32f4", ("F_CPU=84000000L",), "lacks the UART"),
        ("stm32f4", ("F_CPU=84000000L", "TFIN_PORT_USART=2"), "lacks the UART's pins"),
        (
            "stm32f4",
            ("F_CPU=180000000L", "TFIN_PORT_USART=2", "TFIN_PORT_TX=PA2", "TFIN_PORT_RX=PA3"),
            "to 168000000L",
        ),
        ("stm32f1", ("F_CPU=24000000L",), "lacks the UART"),
        ("stm32f1", ("F_CPU=72000000L", "TFIN_PORT_USART=1"), "to 64000000L"),
    ],
)
def test_a_board_file_that_lacks_something_says_what(
    port: str, defines: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=words):
        build(Uart(port, 0x40002000, defines=defines), tmp_path)
