# SPDX-License-Identifier: Apache-2.0
"""Ports against registers that are memory: a dead UART ends every wait, a lost byte counts."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinyfin import paths

TURNS = 100_000
"""Looks for room; at a few nanoseconds each."""


@dataclass(frozen=True)
class Uart:
    """Where a port's UART is, and what its registers say."""

    port: str
    address: int
    data: int
    status: int
    can_send: int
    """Value of the status at which a byte may be sent."""
    received: int
    overrun: int
    interrupt: str = "receive"
    more: tuple[int, ...] = ()
    """Other registers that the interrupt looks at."""
    defines: tuple[str, ...] = ()


UARTS = [
    Uart("stm32f4", 0x40011000, 0x04, 0x00, 0x80, 0x20, 0x08),
    Uart("stm32f1", 0x40013800, 0x04, 0x00, 0x80, 0x20, 0x08),
    Uart("riscv_virt", 0x10000000, 0x00, 0x05, 0x20, 0x01, 0x02, "tfin_riscv_interrupt",
         (0x0C200000,)),
    Uart("cmsis_mps2", 0x40004000, 0x00, 0x04, 0x00, 0x02, 0x08, defines=(
        "TFIN_MPS2_UART=0x40004000u", "TFIN_MPS2_UART_INTERRUPT=0u", "TFIN_MPS2_HZ=25000000u")),
]  # fmt: skip


def build(uart: Uart, folder: Path) -> ctypes.CDLL:
    """The port as a library of this machine; what only its own core understands is left out."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    firmware = paths.firmware_dir()
    source = (firmware / "ports" / uart.port / "port.c").read_text()
    common = (firmware / "ports" / "common" / "stm32.h").read_text()
    source = source.replace('#include "stm32.h"', common)
    source = re.sub(r"__asm volatile\(.*?\);", ";", source, flags=re.DOTALL)
    # the interrupt is called by the test, and once per byte: memory does not empty itself
    source = source.replace("static void receive", "void receive").replace("while (((", "if (((")
    (folder / "port.c").write_text(source)
    out = folder / f"{uart.port}.so"
    pages = ", ".join(str(at) for at in (uart.address, *uart.more))
    subprocess.run(
        [compiler, "-std=c99", "-O2", "-w", "-shared", "-fPIC", f"-DREGISTERS={pages}",
         f'-DPORT="{folder / "port.c"}"', f"-DTFIN_PORT_SEND_TURNS={TURNS}u",
         *(f"-D{define}" for define in uart.defines),
         f"-I{firmware / 'ports'}", f"-I{firmware / 'ports' / 'common'}",
         str(firmware / "test" / "port_registers.c"), str(firmware / "ports" / "common" / "ring.c"),
         "-o", str(out)],
        check=True,
    )  # fmt: skip
    library = ctypes.CDLL(str(out))
    assert library.map_registers() == 0
    return library


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


def test_a_uart_that_takes_no_byte_is_given_up(uart: tuple[Uart, ctypes.CDLL]) -> None:
    spec, library = uart
    set_status(spec, library, 0x01 if spec.can_send == 0 else 0)
    start = time.monotonic()
    library.tfin_port_write(bytes(1000), 1000)
    assert time.monotonic() - start < 5, "one wait, not one per byte"
    set_status(spec, library, spec.can_send)
    library.tfin_port_write(b"ab", 2)
    assert library.peek(spec.address + spec.data) & 0xFF == ord("b")


def test_a_lost_byte_is_counted_wherever_it_is_seen(uart: tuple[Uart, ctypes.CDLL]) -> None:
    spec, library = uart
    interrupt = getattr(library, spec.interrupt)
    before = library.tfin_port_receive_overruns()
    library.poke(spec.address + spec.data, ord("x"))
    set_status(spec, library, spec.received)
    interrupt()
    assert library.tfin_port_read() == ord("x")
    assert library.tfin_port_receive_overruns() == before
    set_status(spec, library, spec.received | spec.overrun)
    interrupt()
    assert library.tfin_port_receive_overruns() == before + 1
    if spec.port == "riscv_virt":  # whose status forgets the loss once it is read
        set_status(spec, library, spec.can_send | spec.overrun)
        library.tfin_port_write(b"c", 1)
        assert library.tfin_port_receive_overruns() == before + 2
