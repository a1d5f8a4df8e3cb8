# SPDX-License-Identifier: Apache-2.0
"""What DTR and RTS do: resets, boot loaders, names of udev. Boards are made up."""

from __future__ import annotations

import os
import pty
import re
import termios
import tomllib
import tty
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.hil.test_ports import BUS, usb
from tinyfin import paths
from tinyfin.errors import BenchError, ConfigError
from tinyfin.hil.rigs.lines import pulse, touch_1200
from tinyfin.hil.rigs.ports import plugged, stanza, udev_rule
from tinyfin.hil.rigs.rigfile import Line, TargetSpec, from_table

TWINS = [
    *BUS,
    usb("/dev/ttyUSB4", "0001", "1-3.1", (0x10C4, 0xEA60)),
    usb("/dev/ttyUSB5", "0001", "1-3.2", (0x10C4, 0xEA60)),
]
"""Two boards of one kind, whose maker gave each the same serial number."""


class Circuit:
    """A board behind an adapter: EN and GPIO0 as two transistors make them of DTR and RTS, and the
    reset line of an Arduino. A line that is set is low."""

    port = "made up"

    def __init__(self) -> None:
        self.state = {"dtr": True, "rts": True}
        self.runs: list[str] = []
        self.in_reset = False

    def set(self, name: str, value: bool) -> None:
        falling = name == "dtr" and value and not self.state["dtr"]
        self.state[name] = value
        dtr, rts = self.state["dtr"], self.state["rts"]
        held = rts and not dtr
        if self.in_reset and not held:
            self.runs.append("boot loader" if dtr and not rts else "program")
        self.in_reset = held
        if falling:
            self.runs.append("arduino")

    dtr = property(lambda self: self.state["dtr"], lambda self, value: self.set("dtr", value))
    rts = property(lambda self: self.state["rts"], lambda self, value: self.set("rts", value))


def stanzas() -> dict[str, TargetSpec]:
    """The rig file stanzas of the guide's section on adapters."""
    guide = (paths.project_dir() / "hil" / "README.md").read_text()
    section = re.split(r"\n#{2,3} ", guide.partition("\n### Resets by adapter\n")[2])[0]
    text = "\n".join(re.findall(r"```toml\n(.*?)```", section, re.S))
    return from_table(tomllib.loads(text)).targets


def reset(name: str, line: Line | None = None) -> Circuit:
    """The board after its port was opened and reset as the guide says."""
    spec = stanzas()[name]
    board = Circuit()
    for key in ("dtr", "rts"):  # the driver sets both lines when a port opens
        setattr(board, key, getattr(spec, key) is not False)
    board.runs.clear()
    pulse(board, line or spec.reset.line)  # type: ignore[arg-type]  # a made-up port
    return board


@pytest.mark.parametrize("name", ["esp", "c3"])
def test_an_esp_runs_its_program_and_not_its_boot_loader(name: str) -> None:
    assert reset(name).runs == ["program"]


def test_control_the_other_line_does_not_run_the_program() -> None:
    assert reset("esp", Line(set="dtr", hold_s=0.001)).runs != ["program"]


def test_an_arduino_is_reset_once() -> None:
    assert reset("uno").runs.count("arduino") == 1


def test_an_adapter_without_these_lines_is_named() -> None:
    class Bare:
        port = "/dev/ttyX"

        def __setattr__(self, name: str, value: object) -> None:
            raise OSError("Inappropriate ioctl for device")

    for name in ("dtr", "rts"):
        with pytest.raises(BenchError, match=rf"/dev/ttyX: its {name.upper()} line cannot be set"):
            pulse(Bare(), Line(set=name))  # type: ignore[arg-type]  # a made-up port


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("baud_up_to = 9600", "is not above baud"),
        ("touch_1200 = true\nflash = false", "flash = false"),
    ],
)
def test_keys_that_contradict_each_other(keys: str, said: str) -> None:
    target = 'target = "stm32f405"\nport = { serial_number = "1" }\n'
    table = tomllib.loads(f"[targets.a]\n{target}{keys}")
    with pytest.raises(ConfigError, match=said):
        from_table(table)


def test_a_bare_line_has_no_speed_to_raise() -> None:
    with pytest.raises(ValueError, match="baud_up_to need a serial port"):
        TargetSpec.model_validate(
            {"target": "host", "port": {"url": "socket://h:1"}, "baud_up_to": 921_600}
        )


# ------------------------------------------------------------------------- 1200 baud


@pytest.fixture
def leonardo() -> Iterator[tuple[str, int]]:
    """The port of a board with USB of its own, and its other side."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave), master
    os.close(master)
    os.close(slave)


def test_a_touch_finds_the_boot_loader_in_the_same_socket(leonardo: tuple[str, int]) -> None:
    device, master = leonardo
    board = usb(device, "A1", "1-7:1.0", (0x2341, 0x8036))
    loader = usb("/dev/ttyACM9", None, "1-7:1.0", (0x2341, 0x0036))
    other = usb("/dev/ttyACM8", None, "1-70:1.0", (0x2341, 0x0036))

    def bus() -> list[SimpleNamespace]:
        touched = termios.tcgetattr(master)[5] == termios.B1200
        return [*BUS, other, loader] if touched else [*BUS, other, board]

    assert touch_1200(device, 5.0, bus, name="left") == "/dev/ttyACM9"


def test_a_touch_without_an_answer_ends(leonardo: tuple[str, int]) -> None:
    device, _ = leonardo
    bus = [*BUS, usb(device, "A1", "1-7:1.0", (0x2341, 0x8036))]
    with pytest.raises(BenchError, match=r"left: no boot loader at USB location 1-7 within 0\.2 s"):
        touch_1200(device, 0.2, lambda: bus, name="left")
    with pytest.raises(BenchError, match="needs a port of a USB device"):
        touch_1200(device, 0.2, lambda: BUS, name="left")


# ------------------------------------------------------------------------------ udev


def fits(rule: str, port: SimpleNamespace) -> bool:
    """Whether udev would apply a rule to a port: each key, with the patterns of fnmatch."""
    import fnmatch

    if getattr(port, "vid", None) is None:
        return False
    place, _, interface = port.location.partition(":")
    known = {
        "SUBSYSTEM": "tty",
        "KERNELS": place,
        "ATTRS{idVendor}": f"{port.vid:04x}",
        "ATTRS{idProduct}": f"{port.pid:04x}",
        "ATTRS{serial}": port.serial_number or "",
        "ENV{ID_USB_INTERFACE_NUM}": f"{int(interface.rpartition('.')[2] or 0):02x}",
    }
    wanted = re.findall(r'([A-Z]+(?:\{\w+\})?)=="([^"]*)"', rule)
    assert {key for key, _ in wanted} <= set(known), rule
    return all(fnmatch.fnmatchcase(known[key], pattern) for key, pattern in wanted)


def rules(bus: list[SimpleNamespace]) -> dict[str, str]:
    """The rule of each port, without its comments."""
    ports = plugged(lambda: bus)
    made = {p.device: udev_rule(p, ports, name=p.device.rpartition("/")[2]) for p in ports}
    return {
        device: "".join(line for line in text.splitlines() if not line.startswith("#"))
        for device, text in made.items()
    }


def test_every_rule_fits_its_own_port_and_no_other() -> None:
    found = rules(TWINS)
    assert found.pop("/dev/ttyS0") == "", "no USB device"
    for device, rule in found.items():
        assert [port.device for port in TWINS if fits(rule, port)] == [device], rule
        assert rule.endswith(f'SYMLINK+="tinyfin-{device.rpartition("/")[2]}"')


def test_control_a_rule_without_the_socket_fits_both_twins() -> None:
    rule = re.sub(r'KERNELS=="[^"]*", ', "", rules(TWINS)["/dev/ttyUSB4"])
    assert [p.device for p in TWINS if fits(rule, p)] == ["/dev/ttyUSB4", "/dev/ttyUSB5"]


def test_a_serial_number_cannot_leave_its_quotes() -> None:
    bus = [usb("/dev/ttyACM0", 'a", RUN+="/bin/x', "1-1"), usb("/dev/ttyACM1", "b*", "1-2")]
    found = rules(bus)
    assert "RUN" not in re.sub(r'"[^"]*"', "", found["/dev/ttyACM0"])
    assert 'ATTRS{serial}=="b?"' in found["/dev/ttyACM1"]


def test_the_name_is_the_one_that_the_rig_file_takes() -> None:
    (port, *_) = plugged(lambda: BUS)
    text = udev_rule(port, [port], name="left")
    url = re.search(r'port = \{ url = "([^"]+)" \}', text)
    assert url is not None
    assert url[1] == "/dev/tinyfin-left"
    assert 'SYMLINK+="tinyfin-left"' in text


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ((0x10C4, 0xEA60), 'reset = { line = { set = "rts" } }'),
        ((0x1A86, 0x7523), 'reset = { line = { set = "dtr" } }'),
        ((0x303A, 0x1001), 'reset = { line = { set = "rts" } }'),
        ((0x2341, 0x8036), "touch_1200 = true"),
        ((0x0483, 0x374B), "st-flash"),
        ((0x2E8A, 0x000A), "dtr = true"),
    ],
)
def test_a_stanza_says_what_the_lines_of_such_a_port_do(ids: tuple[int, int], said: str) -> None:
    ports = plugged(lambda: [usb("/dev/ttyUSB0", "S", "1-1", ids)])
    text = stanza(ports[0], ports, name="a")
    assert said in text
    hints = re.findall(r"^# ((?:dtr|rts|reset|touch_1200) = .*)$", text, re.M)
    assert hints
    for line in hints:  # a hint is a line that can be used as it stands
        TargetSpec.model_validate(
            {"target": "stm32f405", "port": {"serial_number": "S"}, **tomllib.loads(line)}
        )
