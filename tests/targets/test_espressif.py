# SPDX-License-Identifier: Apache-2.0
"""Images for Espressif's chips. The RISC-V ones run in unicorn from where the ROM enters them, with
the registers of the reference manuals; the Xtensa ones on QEMU's lx106, linked for its memory. Of
all, what the ROM and the flash windows ask of an image."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.boot_app import expected_arithmetic
from tests.support.espressif_chips import CHIPS, CODE, DIRECT_BOOT, Espressif
from tests.support.process import call
from tests.support.unicorn_machine import Crash
from tests.support.xtensa_machine import UART, XtensaMachine, variant
from tinyfin import paths
from tinyfin.hil.links.session import at_link
from tinyfin.measure import instrument, pack_costs
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.targets.build import BuildResult, build

PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"
BOOT_APP = Path(__file__).parent / "boot"
XTENSA = {"esp32": 0x1000, "esp32-s3": 0x0}
"""Where the ROM looks for an image."""
PROGRAM_AT = 0x10000
EVENTS = 10_000


def on_chip(*names: str) -> list[object]:
    """Parameters that keep the tests of one chip in one worker: they share its builds."""
    return [
        pytest.param(name, marks=pytest.mark.xdist_group(f"target-{name}"), id=name)
        for name in names
    ]


def machine(name: str, image: BuildResult, **how: object) -> Espressif:
    return Espressif(CHIPS[name], image.binary.read_bytes(), **how)  # type: ignore[arg-type]  # any option


def said(chip: Espressif) -> str:
    """What the boot application says until it waits for more."""
    text = b""
    while not text.endswith(b"\n"):
        text += chip.read(20.0)
    return text.decode()


def ask(chip: Espressif, question: str) -> int:
    chip.write(b"!" + question.encode())
    return int(said(chip)[1:])


@pytest.mark.parametrize(
    ("name", "usb"),
    [
        pytest.param(name, usb, marks=pytest.mark.xdist_group(f"target-{name}"))
        for name, usb in (*((name, False) for name in CHIPS), ("esp32-c3", True))
    ],
)
def test_a_chip_boots_from_flash_and_keeps_the_promises_of_a_port(name: str, usb: bool) -> None:
    defines = ["TFIN_PORT_USB"] if usb else []
    image = build(name, pack="none", app=BOOT_APP, defines=defines)
    chip = machine(name, image, usb=usb)
    assert said(chip) == f"boot {name}\n"
    assert chip.watchdogs_off()
    if not usb:
        assert abs(chip.uart.baud - 115_200) < 115_200 * 0.001
    assert ask(chip, "v") == 1
    assert ask(chip, "m") == 0
    assert ask(chip, "a") == expected_arithmetic()
    assert 1000 <= ask(chip, "s") <= 1100
    counts = {ask(chip, "t") for _ in range(4)}
    assert len(counts) == 1
    assert counts.pop() in (20_000, 30_000, 40_000), "10,000 turns of a loop"
    data = bytes(34 + i * 37 % 221 for i in range(3000))
    chip.write(data)
    echo = b""
    while len(echo) < len(data):
        echo += chip.read(20.0)
    assert echo == data
    first = ask(chip, "e")
    ask(chip, "d")
    chip.write(b"!r")
    assert said(chip) == f"boot {name}\n"
    assert chip.resets == 1
    assert ask(chip, "v") == 1
    assert ask(chip, "e") != first


@pytest.mark.parametrize("name", on_chip(*CHIPS))
def test_a_replay_is_equal(name: str) -> None:
    chip = machine(name, build(name, pack=PACK))
    with at_link(chip, name) as session:
        how = {"limit": 300, "target": name, "checkpoint_events": 200}
        result = sample.replayed(session.client, PACK.read_bytes(), **how)
        assert session.client.stats()["receive_overruns"] == 0
    result.check()
    assert result.verdicts == 300


MMU = {"esp32": (0x3FF1_0000, 77), "esp32-s3": (0x600C_5000, 0)}
"""The table of flash pages, and its entry for the first page of the code window."""
WATCHDOGS = {
    "esp32": (0x3FF5_F048, 0x3FF6_0048, 0x3FF4_808C),
    "esp32-s3": (0x6001_F048, 0x6002_0048, 0x6000_8098),
}


@pytest.mark.live
@pytest.mark.parametrize("name", on_chip(*XTENSA))
def test_an_xtensa_port_starts_maps_the_flash_and_replays(name: str, tmp_path: Path) -> None:
    target, flags = variant(name, tmp_path)
    image = build(target, pack=PACK, flags=flags)
    chip = XtensaMachine(name, image, tmp_path)
    with at_link(chip, name) as session:
        how = {"limit": 5, "target": name, "checkpoint_events": 100}
        result = sample.replayed(session.client, PACK.read_bytes(), **how)
        result.check()
        assert result.verdicts == 5
        table, code = MMU[name]
        page = PROGRAM_AT >> 16
        for first in (0, code):
            entries = [chip.register(table + 4 * (first + i)) for i in (0, 1, 47)]
            assert entries == [page, page + 1, page + 47]
        assert [chip.register(at) for at in WATCHDOGS[name]] == [0, 0, 0]
        divider = chip.register(UART[name] + 0x14)
        baud = 40_000_000 / ((divider & 0xFFF) + (divider >> 20 & 15) / 16)
        assert abs(baud - 115_200) < 115_200 * 0.001


@pytest.mark.live
@pytest.mark.parametrize("name", on_chip("esp32"))
def test_an_xtensa_port_keeps_the_promises_of_a_port(name: str, tmp_path: Path) -> None:
    target, flags = variant(name, tmp_path)
    image = build(target, pack="none", app=BOOT_APP, flags=flags)
    with XtensaMachine(name, image, tmp_path) as chip:

        def line(question: bytes = b"") -> str:
            chip.write(question)
            text = b""
            while not text.endswith(b"\n"):
                text += chip.read(20.0)
            return text.decode()

        assert line() == f"boot {target.name}\n"
        assert line(b"!v") == "=1\n"
        assert line(b"!m") == "=0\n"
        assert line(b"!a") == f"={expected_arithmetic()}\n"
        assert 1000 <= int(line(b"!s")[1:]) <= 1100
        chip.write(b"!r")
        assert chip.read(0.2) == b""
        assert chip.register(0x3FF4_8000) >> 31 == 1, "the chip would start again"


def run_tape(name: str, image: BuildResult, tape: instrument.Tape) -> instrument.Readings:
    """The instrument on a chip, its tape in flash where the image looks for it."""
    offset = instrument.tape_address(image) - building.symbol_addresses(image)["tfin_ld_flash"]
    chip = machine(name, image, behind=(offset, tape.bytes()))
    text = ""
    while "\ndone" not in text or not text.endswith("\n"):
        text += chip.read(60.0).decode()
    spec = catalogue.EmulatorSpec(("unicorn",), 0, 1_000_000_000)  # a tick is an instruction
    return instrument.readings(name, text, spec)


@pytest.mark.parametrize("name", on_chip("esp32-c3"))
def test_ten_thousand_events_and_as_many_instructions_as_predicted(name: str) -> None:
    """Features, network, verdict and state of each; what `budget` counts on another machine with
    this chip's code is what the chip takes, but for the interrupts of its UART."""
    image = instrument.build(name)
    tx = sample.make_transactions(terminals=6, days=30)
    scored = 0
    for tape, scores in instrument.event_tapes(
        PACK.read_bytes(), tx, sample.make_stream(tx), 512 << 10, limit=EVENTS
    ):
        found = run_tape(name, image, tape)
        assert not found.differing, found.first
        scored += scores
    assert scored >= EVENTS

    tx = pack_costs.default_data()
    counting = catalogue.counting(catalogue.get(name))
    assert counting is not None
    predicted = pack_costs.count(
        counting[0], PACK.read_bytes(), tx, sample.make_stream(tx), 300, code_of=counting[1]
    )
    [(tape, _)] = instrument.event_tapes(
        PACK.read_bytes(),
        tx,
        sample.make_stream(tx),
        512 << 10,
        limit=300,
        measure=True,
        piece_events=600,
    )
    found = run_tape(name, image, tape)
    counted = [found.instructions(ticks) for ticks, *_ in found.numbers("score")]
    print(name, "predicted", list(predicted.scores[:5]), "counted", counted[:5])
    assert counted == list(predicted.scores)


def test_a_board_that_is_counted_elsewhere_names_a_target_that_can(tmp_path: Path) -> None:
    board = json.loads(catalogue.get("esp32-c3").board_file.read_text())
    for wrong, words in (
        ("esp32", "is no emulated target"),
        ("nowhere", "is no emulated target"),
        ("cortex-m4", "is not of architecture riscv"),
    ):
        board["tinyfin"]["counted_on"] = wrong
        (tmp_path / "mine.json").write_text(json.dumps(board))
        with pytest.raises(catalogue.ConfigError, match=words):
            catalogue.counting(catalogue.get("mine", tmp_path))


# ------------------------------------------------------------------------- what an image is


def sections(image: BuildResult) -> dict[str, tuple[str, int, int]]:
    """Of what is in memory: flags, address and size by name."""
    found = {}
    for line in call(image.target.tool("readelf"), "-S", "-W", image.elf).stdout.splitlines():
        words = line.replace("[ ", "[").split()
        if len(words) > 8 and "A" in words[7] and int(words[5], 16):
            found[words[1]] = (words[7], int(words[3], 16), int(words[5], 16))
    return found


def misplaced(image: BuildResult) -> list[str]:
    """What is at the wrong window: data where only code may be, or code where it cannot run."""
    board = json.loads(image.target.board_file.read_text())
    code = int(board["build"]["flash_origin"], 0)
    constants = int(board["build"]["memory"]["CONSTANTS"][0], 0)
    size = image.target.flash_bytes
    wrong = []
    for name, (flags, at, length) in sections(image).items():
        if "W" in flags:  # with code that runs from RAM among the variables
            fits = image.target.ram_origin <= at < code
        elif "X" in flags:
            fits = (code <= at and at + length <= code + size) or name == ".loader"
        else:
            fits = constants <= at and at + length <= constants + size
        wrong += [] if fits else [f"{name} at {at:#x}"]
    # an object that holds data, in a section for code
    lines = call(image.target.tool("nm"), "-S", "--defined-only", image.elf).stdout.splitlines()
    objects = call(image.target.tool("readelf"), "-s", "-W", image.elf).stdout
    data = {line.split()[7] for line in objects.splitlines() if " OBJECT " in line}
    for words in (line.split() for line in lines):
        if len(words) == 4 and words[3] in data and words[2] in "tT":
            in_ram = image.target.ram_origin <= int(words[0], 16) < code
            wrong += [] if in_ram else [words[3]]
    return wrong


@pytest.mark.parametrize("name", on_chip("esp32-c3", *XTENSA))
def test_constants_are_in_the_window_for_data(name: str) -> None:
    assert misplaced(build(name, pack=PACK)) == []


@pytest.mark.parametrize("name", on_chip("esp32-c3"))
@pytest.mark.parametrize("how", ["one region", "one constant"])
def test_a_constant_in_the_window_for_code_is_found(name: str, how: str, tmp_path: Path) -> None:
    """Negative control of both: the look at the sections, and the emulated chip, which faults as
    the real one does. Espressif's QEMU runs both images."""
    board = json.loads(catalogue.get(name).board_file.read_text())
    app = tmp_path / "app"
    app.mkdir()
    source = (BOOT_APP / "main.c").read_text()
    if how == "one region":
        board["build"]["ldscript"] = ""
    else:
        source = source.replace(
            "static const uint8_t banner[]",
            'static const uint8_t banner[] __attribute__((section(".text.banner")))',
        )
    (app / "main.c").write_text(source)
    (tmp_path / "mine.json").write_text(json.dumps(board))
    image = build(catalogue.get("mine", tmp_path), pack="none", app=app, flags=["-w"])
    assert misplaced(image) != []
    chip = Espressif(CHIPS[name], image.binary.read_bytes())
    with pytest.raises(Crash, match=r"esp32-c3: .*at 0x42"):
        chip.read(20.0)


@pytest.mark.parametrize("name", on_chip(*CHIPS))
def test_the_rom_boots_the_image_directly(name: str) -> None:
    image = build(name, pack=PACK)
    content = image.binary.read_bytes()
    assert content.startswith(DIRECT_BOOT)
    assert building.symbol_addresses(image)["tfin_start"] == CODE + len(DIRECT_BOOT)
    assert len(content) == image.flash_bytes


@pytest.mark.parametrize("name", on_chip(*XTENSA))
def test_the_rom_takes_the_loader_and_the_program_follows(name: str, tmp_path: Path) -> None:
    """The image is the flash from its start: `esptool image-info` finds no fault in the loader."""
    image = build(name, pack=PACK)
    content = image.binary.read_bytes()
    at = XTENSA[name]
    assert content[:at] == b"\xff" * at
    loader = tmp_path / "boot.bin"
    loader.write_bytes(content[at:PROGRAM_AT].rstrip(b"\xff"))
    chip = name.replace("-", "")
    told = call(sys.executable, "-m", "esptool", "--chip", chip, "image-info", loader).stdout
    assert told.count("(valid)") == 2, told
    entry = building.symbol_addresses(image)["tfin_start"]
    assert f"Entry point: {entry:#x}" in told
    _, start, size = sections(image)[".loader"]
    magic, segments = content[at], content[at + 1]
    assert (magic, segments) == (0xE9, 1)
    assert struct.unpack_from("<II", content, at + 24) == (start, -(-size // 4) * 4)
    assert start <= entry < start + size
    program = content[PROGRAM_AT:]
    assert len(program) == image.flash_bytes - size
    code = sections(image)[".text"][2]
    assert program[code:].find(PACK.read_bytes()[64:]) > 0, "the constants follow the code"


@pytest.mark.parametrize("name", on_chip(*CHIPS, *XTENSA))
def test_a_board_is_flashed_from_the_start_of_flash(name: str) -> None:
    [command] = catalogue.get(name).flash_commands
    assert command[0] == "esptool"
    assert command[command.index("--chip") + 1] == name.replace("-", "")
    assert command[-3:] == ("write-flash", "0x0", "{bin}")


# ------------------------------------------------------------------------------- registers


@pytest.mark.parametrize("name", on_chip(*CHIPS))
def test_the_speed_changes_when_the_last_byte_has_left(name: str) -> None:
    image = build(name, pack="none", app=BOOT_APP)
    chip = machine(name, image)
    said(chip)
    chip.read(0.0)
    set_baud = building.symbol_addresses(image)["tfin_port_set_baud"]

    def at(baud: int) -> int:
        chip.uart.leaving, chip.uart.shifting = 3, 5
        return chip.core.call(chip, set_baud, baud)

    for baud in (115_200, 230_400, 921_600, 2_000_000, 9600 * 2, 115_200):
        assert at(baud) == 1
        assert abs(chip.uart.baud - baud) < baud * 0.005
        assert not chip.uart.cut_short
        assert chip.uart.leaving == chip.uart.shifting == 0
    for baud in (0, 1200, 6_000_000, 0xFFFF_FFFF):
        assert at(baud) == 0
        assert abs(chip.uart.baud - 115_200) < 115_200 * 0.001


def test_a_byte_that_the_uart_lost_is_counted() -> None:
    for name in ("esp32-c3", "esp32-c6"):
        chip = machine(name, build(name, pack=PACK))
        with at_link(chip, name) as session:
            session.client.connect()
            assert session.client.stats()["receive_overruns"] == 0
            chip.uart.lose()
            assert session.client.stats()["receive_overruns"] == 1
