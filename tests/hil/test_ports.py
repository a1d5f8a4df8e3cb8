# SPDX-License-Identifier: Apache-2.0
"""Finding a board's port, and the stanza for it: with a made-up bus, and with a PTY."""

from __future__ import annotations

import contextlib
import os
import pty
import threading
import tomllib
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.hil.fakes import SHORT, SMALL
from tinyfin.errors import BenchError, BootError
from tinyfin.hil.rigs import ports as rig_ports
from tinyfin.hil.rigs.ports import find, plugged, stanza, wait_for
from tinyfin.hil.rigs.rigfile import Port, TargetSpec
from tinyfin.hil.runs.probe import greet
from tinyfin.hil.runs.target import Job, run_target
from tinyfin.wire.links import ProcessLink

pytestmark = pytest.mark.live


def usb(device: str, serial: str | None, location: str, ids: tuple[int, int] = (0x1A86, 0x7523),
        interface: str | None = None) -> SimpleNamespace:  # fmt: skip
    return SimpleNamespace(
        device=device, vid=ids[0], pid=ids[1], serial_number=serial, location=location,
        interface=interface, description="USB serial",
    )  # fmt: skip


BUS = [
    usb("/dev/ttyACM0", "066B", "1-1.1", (0x0483, 0x374B)),
    usb("/dev/ttyUSB0", None, "1-1.4"),
    usb("/dev/ttyUSB1", None, "1-1.40"),
    usb("/dev/ttyUSB2", "FT9", "1-2:1.0", (0x0403, 0x6010), "port A"),
    usb("/dev/ttyUSB3", "FT9", "1-2:1.1", (0x0403, 0x6010), "port B"),
    SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None),
]


def test_a_port_is_found_by_what_stays() -> None:
    def at(**wanted: str) -> str | None:
        found = find(Port(**wanted), lambda: BUS)
        return found.device if found else None

    assert at(serial_number="066B") == "/dev/ttyACM0"
    assert at(vid_pid="0483:374B") == "/dev/ttyACM0"
    assert at(location="1-1.4") == "/dev/ttyUSB0", "1-1.40 is another socket"
    assert at(serial_number="FT9", interface="B") == "/dev/ttyUSB3"
    assert at(location="1-2:1.0") == "/dev/ttyUSB2"
    assert at(serial_number="FT9", vid_pid="0483:374b") is None
    with pytest.raises(BenchError, match=r"2 ports fit .*1-2:1\.0.*add location or interface"):
        at(serial_number="FT9")


def test_the_stanza_finds_its_port_again_and_no_other() -> None:
    ports = plugged(lambda: BUS)
    for port in ports:
        text = stanza(port, ports, name="x", hello=None)
        if port.vid_pid is None:
            assert "no USB device" in text
            continue
        wanted = Port(**tomllib.loads(text)["targets"]["x"]["port"])
        assert find(wanted, lambda: BUS) == port
    said = {"target": "stm32f405", "pack_id": "00ff"}
    text = stanza(ports[0], ports, name="left", hello=said)
    assert 'target = "stm32f405"' in text
    assert "guess" not in text
    assert 'port = { serial_number = "066B" }' in text


def test_waiting_for_a_port_ends_and_names_what_is_there() -> None:
    calls: list[int] = []

    def late() -> list[SimpleNamespace]:
        calls.append(1)
        return BUS if len(calls) > 2 else BUS[1:]

    assert wait_for(Port(serial_number="066B"), 5.0, late).device == "/dev/ttyACM0"
    with pytest.raises(BenchError, match=r"within 0\.3 s.*Plugged in: /dev/ttyACM0") as told:
        wait_for(Port(serial_number="gone"), 0.3, lambda: BUS, name="left")
    assert "left: no port with serial_number gone" in str(told.value)


@contextlib.contextmanager
def terminal_at_a_pty(program: Path) -> Iterator[str]:
    """A serial port with a terminal behind it, as the system knows serial ports."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    link = ProcessLink([str(program)])
    stop = threading.Event()

    def up() -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                link.write(os.read(master, 4096))

    def down() -> None:
        with contextlib.suppress(Exception):
            while not stop.is_set():
                os.write(master, link.read(0.05))

    threads = [threading.Thread(target=way, daemon=True) for way in (up, down)]
    for thread in threads:
        thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        stop.set()
        os.close(slave)
        os.close(master)
        threads[1].join(2.0)
        link.close()


def test_a_board_at_a_serial_port_is_found_suggested_and_run(
    program: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal_at_a_pty(program) as device:
        board = usb(device, "PTY1", "1-9")
        monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [*BUS, board])
        hello = greet(device, 5.0)
        ports = plugged()
        (mine,) = [port for port in ports if port.device == device]
        table = tomllib.loads(stanza(mine, ports, name="pty", hello=hello))
        assert table["targets"]["pty"]["target"] == "host"
        spec = TargetSpec.model_validate({**table["targets"]["pty"], "flash": False})
        limits = SHORT.model_copy(update={"boot_s": 5.0, "silence_s": 10.0, "answer_s": 2.0})
        result = run_target(Job("pty", spec, limits, pack, (), (SMALL,), lease_wait_s=0.0))
    assert result.ok, result.cases
    assert result.hello["target"] == "host"


def test_a_port_of_nobody_says_nothing() -> None:
    master, slave = pty.openpty()
    with pytest.raises(BootError, match="not a byte came"):
        greet(os.ttyname(slave), 0.3)
    os.close(master)
    os.close(slave)
    assert rig_ports.plugged(list) == []
