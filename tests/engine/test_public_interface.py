# SPDX-License-Identifier: Apache-2.0
"""What firmware needs of the engine is in its public headers: nothing else is included or read."""

from __future__ import annotations

import ctypes
import re
import struct
from pathlib import Path

import pytest

from tests.support import packs
from tests.support.native import LIBRARY, ROOT, Buffer, Engine, library
from tinyfin.pack.container import parse_pack
from tinyfin.paths import firmware_dir

USERS = ("src", "instrument", "network_only", "examples", "ports", "tflm")
PUBLIC = {path.name for path in (LIBRARY / "include").glob("*.h")}
PRIVATE = {path.name for path in (LIBRARY / "src").rglob("*.h")} - PUBLIC


def trespasses(path: Path) -> list[str]:
    """Lines of a C file that include what is private, or source text, or read the handle."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        included = re.match(r'\s*#\s*include\s+["<]([^">]+)', line)
        name = included[1] if included else ""
        private = Path(name).name in PRIVATE or "tinyfin/src" in name or name.endswith(".c")
        if private or re.search(r"\bengine(\.|->)\w", line):
            found.append(f"{path.name}:{number}: {line.strip()}")
    return found


@pytest.mark.parametrize("folder", USERS)
def test_nobody_needs_a_private_header(folder: str) -> None:
    files = [p for p in (firmware_dir() / folder).rglob("*") if p.suffix in {".c", ".h", ".cpp"}]
    assert files
    assert [line for path in files for line in trespasses(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        '#include "internal.h"',
        '#include "../lib/tinyfin/src/network/net_plan.h"',
        '#  include "../src/bytes.c"',
        "    ticks = measure(engine.plan);",
        "    ticks = measure(engine->plan);",
    ],
)
def test_one_that_does_is_named(line: str, tmp_path: Path) -> None:
    """Negative control: a sabotaged copy of the terminal application."""
    text = (firmware_dir() / "src" / "wire.c").read_text(encoding="utf-8")
    copy = tmp_path / "wire.c"
    copy.write_text(f"{text}{line}\n", encoding="utf-8")
    assert trespasses(copy) == [f"wire.c:{len(text.splitlines()) + 1}: {line.strip()}"]


@pytest.fixture(scope="module")
def payment() -> Engine:
    return Engine((ROOT / "models" / "payment" / "model.tfpack").read_bytes())


def given(name: str, *arguments: object) -> int:
    """The address that a function answers."""
    function = library()[name]
    function.restype = ctypes.c_void_p
    return int(function(*arguments) or 0)


def test_the_schema_and_the_plan_are_the_packs(payment: Engine) -> None:
    sections = parse_pack(payment._pack.data).sections
    for name, tag in (("tfin_event_schema", "SCHM"), ("tfin_network_plan", "PLAN")):
        section = sections[tag]
        assert ctypes.string_at(given(name, payment._engine), len(section)) == section


def test_a_pack_without_a_network_has_no_plan() -> None:
    pack = packs.build({tag: packs.small()[tag] for tag in ("SCHM", "PROG")})
    assert given("tfin_network_plan", Engine(pack)._engine) == 0


def test_the_plan_runs_again_in_the_engines_arena(payment: Engine) -> None:
    engine, plan = payment._engine, given("tfin_network_plan", payment._engine)
    number = struct.unpack_from("<12I", ctypes.string_at(plan, 48))
    arena = given("tfin_network_input", engine, None) - number[6]
    output = given("tfin_network_output", engine, None)
    payment.infer(bytes(range(number[7])))
    first = ctypes.string_at(output, number[9])
    ctypes.memset(output, 0x55, number[9])
    library().tfin_net_run(ctypes.c_void_p(plan), ctypes.c_void_p(arena))
    assert ctypes.string_at(output, number[9]) == first


def test_the_model_id_is_read_of_any_pack(payment: Engine) -> None:
    pack = bytearray(payment._pack.data)
    pack[-1] ^= 1  # refused by tfin_open
    held = Buffer(len(pack), bytes(pack))
    assert (
        ctypes.string_at(given("tfin_model_id", held), 16)
        == parse_pack(payment._pack.data).model_id
    )
    assert given("tfin_model_id", None) == 0
