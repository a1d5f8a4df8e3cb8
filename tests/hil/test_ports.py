# SPDX-License-Identifier: Apache-2.0
"""Finding a board's port, and the stanza for it: with a made-up bus, and with a PTY."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import threading
import tomllib
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from serial import rfc2217

from tests.hil.faulty_bench import SHORT, SMALL, Line, SuiteReplay
from tests.support.cable import Cable, build_terminal
from tinyfin.errors import BenchError, BootError
from tinyfin.hil.rigs import ports as rig_ports
from tinyfin.hil.rigs.ports import find, plugged, stanza, wait_for
from tinyfin.hil.rigs.rigfile import Port, TargetSpec
from tinyfin.hil.runs.probe import greet
from tinyfin.hil.runs.target import Job, run_target
from tinyfin.wire.links import LinkLost, ProcessLink
from tinyfin.wire.serial_link import SerialLink, open_link

pytestmark = pytest.mark.live


def usb(
    device: str,
    serial: str | None,
    location: str,
    ids: tuple[int, int] = (0x1A86, 0x7523),
    interface: str | None = None,
) -> SimpleNamespace:
    return SimpleNamespace(
        device=device,
        vid=ids[0],
        pid=ids[1],
        serial_number=serial,
        location=location,
        interface=interface,
        description="USB serial",
    )


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
    assert result.hello.target == "host"


def test_a_free_port_says_nothing() -> None:
    master, slave = pty.openpty()
    with pytest.raises(BootError, match="not a byte came"):
        greet(os.ttyname(slave), 0.3)
    os.close(master)
    os.close(slave)
    assert rig_ports.plugged(list) == []


@pytest.mark.parametrize("name", ["usb-Maker_Board_066B-if00", "pci-0000:00:14.0-usb-0:2:1.0"])
def test_a_board_at_a_name_of_udev(name: str, program: Path, pack: Path, tmp_path: Path) -> None:
    """/dev/serial/by-id, by-path and SYMLINK+= are links; one that comes late is waited for."""
    link = tmp_path / name
    with terminal_at_a_pty(program) as device:
        threading.Timer(0.3, link.symlink_to, (device,)).start()
        result = run_target(Job("left", at(str(link)), PATIENT, pack, (), (SMALL,)))
        assert result.ok, result.cases
        assert greet(str(link), 5.0)["target"] == "host", "--port takes it, too"
    link.unlink(missing_ok=True)
    gone = run_target(Job("left", at(str(link)), SHORT, pack, (), (SMALL,)))
    failure = gone.cases[1].failure
    assert failure is not None
    assert f"left: {link} is not there within 1 s; check cable" in failure.message
    assert failure.kind == "bench"


PATIENT = SHORT.model_copy(
    update={"boot_s": 5.0, "silence_s": 10.0, "answer_s": 2.0, "port_s": 5.0}
)


def at(url: str, **more: object) -> TargetSpec:
    return TargetSpec.model_validate(
        {"target": "host", "port": {"url": url}, "flash": False, **more}
    )


class ServedPort:
    """A terminal with the lines of a serial port; setting RTS presses its reset button."""

    cts = dsr = ri = cd = True
    baudrate, bytesize, parity, stopbits = 9600, 8, "N", 1
    xonxoff = rtscts = break_condition = False

    def __init__(self, program: Path) -> None:
        self.link = ProcessLink([str(program)])
        self.seen: list[tuple[str, bool]] = []
        self.resets = 0

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("rts", "dtr"):
            self.seen.append((name, bool(value)))
            if name == "rts" and value:
                self.resets += 1
                self.link.reset()
        super().__setattr__(name, value)

    def reset_input_buffer(self) -> None:
        """Nothing is kept."""

    reset_output_buffer = reset_input_buffer


class Server:
    """pyserial's own RFC 2217 server, on a thread, for one client after the other."""

    def __init__(self, port: ServedPort) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                self._client, _ = self._listener.accept()
            except OSError:
                return
            with self._client, contextlib.suppress(OSError):
                self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._carry(rfc2217.PortManager(self._port, self))

    def write(self, data: bytes) -> None:
        with self._lock:
            self._client.sendall(data)

    def _carry(self, manager: rfc2217.PortManager) -> None:
        while not self._ended.is_set():
            if select.select([self._client], [], [], 0.002)[0]:
                data = self._client.recv(1024)
                if not data:
                    return
                self._port.link.write(b"".join(manager.filter(data)))
            answer = self._port.link.read(0.0)
            if answer:
                self.write(b"".join(manager.escape(answer)))

    def close(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):  # closed already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10.0)
        self._port.link.close()


@pytest.fixture
def served(program: Path) -> Iterator[tuple[Server, ServedPort]]:
    port = ServedPort(program)
    server = Server(port)
    yield server, port
    server.close()


def test_a_board_at_a_server_of_rfc_2217(
    served: tuple[Server, ServedPort], pack: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Every byte passes, baud rate and lines too; 0xFF is the protocol's own and is doubled."""
    server, port = served
    reset = {"line": {"set": "rts", "hold_s": 0.01}}
    spec = at(server.url, baud=57_600, dtr=False, rts=False, reset=reset)
    noisy = SMALL.model_copy(
        update={
            "name": "restarts",
            "replay": SuiteReplay(chaos="reboot=1/60", on_reboot="resume", checkpoint_events=40),
        }
    )
    slower = PATIENT.model_copy(update={"boot_s": 15.0})
    patient = [s.model_copy(update={"deadline_s": 60.0}) for s in (SMALL, noisy)]
    result = run_target(Job("far", spec, slower, pack, (), tuple(patient), lease_wait_s=0.0))
    assert result.ok, result.cases
    assert port.baudrate == 57_600
    assert ("dtr", False) in port.seen
    assert ("dtr", True) not in port.seen
    assert port.resets > 0, "RTS was set over the wire"
    assert result.cases[4].facts.faults["reboot"] > 0
    assert not [w for w in recwarn if issubclass(w.category, DeprecationWarning)]


def test_the_speed_of_a_served_port_is_changed(served: tuple[Server, ServedPort]) -> None:
    server, port = served
    link = open_link(server.url)
    assert isinstance(link, SerialLink)
    assert link.baud == port.baudrate == 115_200
    link.set_baud(460_800)
    assert link.baud == port.baudrate == 460_800
    link.close()


def test_a_board_at_a_high_speed_goes_through_a_rig(pack: Path, tmp_path: Path) -> None:
    with Cable(build_terminal(pack.read_bytes()), tmp_path / "port") as cable:
        restarts = SMALL.model_copy(
            update={
                "name": "restarts",
                "replay": SuiteReplay(chaos="fault=1/3000,reboot=1/60", on_reboot="resume"),
            }
        )
        suites = [s.model_copy(update={"deadline_s": 60.0}) for s in (SMALL, restarts)]
        spec = at(cable.name, baud_up_to=921_600)
        result = run_target(Job("left", spec, PATIENT, pack, (), tuple(suites), lease_wait_s=0.0))
        assert result.ok, [str(case.failure) for case in result.cases]
        assert "speed" in result.hello.capabilities
        assert result.cases[3].facts.baud == 921_600


def test_a_server_of_rfc_2217_that_goes_away(served: tuple[Server, ServedPort]) -> None:
    server, _ = served
    link = open_link(server.url)
    server.close()
    with pytest.raises(LinkLost, match="the other end closed the link"):  # noqa: PT012
        for _ in range(2000):
            link.read(0.01)
    link.close()
    with pytest.raises(BenchError, match=r"cannot be opened: .*check the address"):
        open_link(server.url)


def test_a_server_of_another_protocol(program: Path) -> None:
    line = Line(program)
    with pytest.raises(BenchError, match=r"cannot be opened: .*RFC2217"):
        open_link(line.url.replace("socket", "rfc2217"))
    line.close()


def test_any_other_port_of_pyserials() -> None:
    """One that is no file, here pyserial's loop, is read without waiting longer than was said."""
    link = open_link("loop://")
    assert link.read(0.0) == b""
    data = bytes(range(256)) * 3
    link.write(data)
    got = b""
    while len(got) < len(data):
        got += link.read(1.0)
    assert got == data
    link.close()
