# SPDX-License-Identifier: Apache-2.0
"""Every port keeps the promises of firmware/ports/port.h: a small firmware says so, in QEMU."""

from __future__ import annotations

import dataclasses
import random
import socket
import time
from pathlib import Path

import pytest

from tests.support.boot_app import expected_arithmetic
from tinyfin.errors import BudgetError, TargetError, ToolError
from tinyfin.targets import catalogue
from tinyfin.targets.build import BuildResult, build, symbols
from tinyfin.targets.emulate import Emulator

pytestmark = pytest.mark.live

APP = Path(__file__).parent / "boot"
TARGETS = catalogue.emulated()


def line(link: socket.socket) -> bytes:
    got = b""
    while not got.endswith(b"\n"):
        byte = link.recv(1)
        if not byte:
            raise EOFError(got)
        got += byte
    return got


def ask(link: socket.socket, question: bytes) -> int:
    link.sendall(b"!" + question)
    return int(line(link)[1:])


def image(name: str, **extra: object) -> BuildResult:
    return build(name, pack="none", app=APP, **extra)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TARGETS)
def test_boots_and_keeps_its_promises(name: str) -> None:
    result = image(name)
    target = result.target
    assert 0 < result.flash_bytes < 16_000
    assert {"main", "memcpy"} <= {symbol.name for symbol in symbols(result)}
    assert target.emulator is not None
    with Emulator(target, result.elf, seed=1) as emulator, emulator.connect(10) as link:
        assert line(link) == b"boot %s\n" % name.encode()
        assert ask(link, b"v") == 1  # variables are initialised and zeroed
        assert ask(link, b"m") == 0  # memcpy, memset, memcmp at every alignment
        assert ask(link, b"a") == expected_arithmetic()
        assert ask(link, b"h") == target.emulator.tick_hz
        assert 1000 <= ask(link, b"s") <= 1100  # a call that holds 1,024 bytes

        counts = set()
        for _ in range(8):
            time.sleep(random.random() * 0.004)
            counts.add(target.emulator.instructions(ask(link, b"t")))
        assert len(counts) == 1  # 10,000 turns of a loop, whatever the host was doing
        assert counts.pop() in (20_000, 30_000, 40_000)

        data = bytes(34 + i * 37 % 221 for i in range(3000))
        # No more at a time than the smallest ring holds. QEMU's console for this machine is changed
        # by two threads without a lock, so that a byte can come twice when others follow it.
        most = 1 if name == "xtensa-lx106" else 60
        for start in range(0, len(data), most):
            part = data[start : start + most]
            link.sendall(part)
            echo = b""
            while len(echo) < len(part):
                echo += link.recv(4096)
            assert echo == part

        first = ask(link, b"e")
        ask(link, b"d")  # spoil the variables
        link.sendall(b"!r")
        assert line(link) == b"boot %s\n" % name.encode()
        assert ask(link, b"v") == 1
        assert ask(link, b"e") != first  # the boot nonce moved
        link.sendall(b"!x")
        assert emulator.wait(10) == 3
        with pytest.raises(TargetError, match="ended with code 3"):
            emulator.check()


def test_no_two_boots_have_the_same_nonce_material() -> None:
    result = image("cortex-m4")
    found = set()
    for _ in range(5):
        with Emulator(result.target, result.elf) as emulator, emulator.connect(10) as link:
            line(link)
            found.add(ask(link, b"e"))
    assert len(found) == 5


def test_leaves_nothing_running_and_reconnects() -> None:
    result = image("cortex-m4")
    with Emulator(result.target, result.elf) as emulator:
        with emulator.connect(10) as link:
            line(link)
        with emulator.connect(10) as link:
            assert ask(link, b"v") == 1
        proc = Path(f"/proc/{emulator.pid}")
        assert proc.exists()
    assert not proc.exists()
    with pytest.raises(TargetError, match="not running"):
        _ = emulator.url


def test_an_emulator_that_does_not_start_says_why() -> None:
    result = image("cortex-m4")
    assert result.target.emulator is not None
    spec = dataclasses.replace(result.target.emulator, command=("qemu-system-arm", "-M", "nothing"))
    odd = dataclasses.replace(result.target, emulator=spec)
    with pytest.raises(TargetError, match=r"cortex-m4: .*unsupported machine"):
        Emulator(odd, result.elf).start()
    spec = dataclasses.replace(spec, command=("qemu-system-nowhere",))
    odd = dataclasses.replace(result.target, emulator=spec)
    with pytest.raises(ToolError, match="qemu-system-nowhere is not on PATH"):
        Emulator(odd, result.elf).start()


@pytest.mark.parametrize(
    ("define", "error", "told"),
    [
        ("TEST_RAM=9000", BudgetError, "stm32vldiscovery: the firmware does not fit"),
        ("TEST_RAM=7500", BudgetError, "no room left for the stack"),
        ("TEST_SYNTAX", ToolError, r"main\.c.*error"),
    ],
)
def test_a_build_that_fails_says_why(
    define: str, error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        image("stm32vldiscovery", defines=[define], build_dir=tmp_path)


def test_a_compiler_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path))
    with pytest.raises(ToolError, match=r"arm-none-eabi-gcc is not on PATH.*install"):
        image("cortex-m4")
