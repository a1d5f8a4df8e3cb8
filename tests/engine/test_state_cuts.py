# SPDX-License-Identifier: Apache-2.0
"""The state log of the firmware, cut at any flash operation by a simulator that links it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.native import LIBRARY, ROOT, TEST, compiler
from tests.support.process import call
from tests.support.switched_off import switched_off
from tinyfin.codegen import monocypher
from tinyfin.codegen.emit import emit

SOURCE = ROOT / "firmware" / "src" / "slots"
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Werror"]
STEPS = int(os.environ.get("STATECUT_STEPS", "300000"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated C of a pack, and the objects of the engine."""
    made = tmp_path_factory.mktemp("statecut")
    emit(sample.make_pack(), made)
    crypto = monocypher.obtain(ROOT / ".pio" / "tinyfin")
    flags = [f"-D{define}" for define in monocypher.DEFINES]
    flags += [f"-I{path}" for path in (made, LIBRARY / "include", crypto)]
    sources = [made / "tinyfin_pack.c", crypto / "monocypher.c"]
    sources += sorted(set((LIBRARY / "src").rglob("*.c")) - {LIBRARY / "src" / "crc32.c"})
    sources.append(TEST / "crc32_fast.c")
    for number, source in enumerate(sources):
        call(compiler(), "-O2", "-std=gnu11", *flags, "-c", source, "-o", made / f"{number}.o")
    return made


def build(folder: Path, into: Path, sources: Path = SOURCE, *flags: str) -> Path:
    program = into / "statecut"
    application = ROOT / "firmware" / "src"
    includes = (folder, LIBRARY / "include", LIBRARY / "src", sources, application)
    includes += (ROOT / "firmware" / "ports",)
    options = ["-O2", "-std=gnu11", "-DTFIN_PORT_FLASH", *flags, *(f"-I{p}" for p in includes)]
    files = [TEST / "statecut.c", sources / "state_log.c", application / "bytes.c"]
    files += sorted(folder.glob("*.o"))
    call(compiler(), *options, *files, "-o", program)
    return program


def test_the_state_comes_back_from_any_cut(folder: Path, tmp_path: Path) -> None:
    program = build(folder, tmp_path, SOURCE, *WARNINGS)
    for seed in ("1", "2"):
        done = call(program, str(STEPS // 2), seed, deadline_s=1200 + STEPS / 500)
        assert "nothing violated" in done.stdout
        numbers = [int(number) for number in re.findall(r"\d+", done.stdout)]
        operations, cuts, _, events, images, came_back, noted, faults, given_up = numbers
        assert operations > STEPS
        assert min(cuts, images, noted) > STEPS / 1000
        assert faults > STEPS / 10_000
        assert given_up > STEPS / 100_000
        assert events > STEPS / 4
        assert came_back > STEPS / 100
        print(f"seed {seed}: {done.stdout.strip()}")


@dataclass(frozen=True)
class Rule:
    """A rule that is switched off: in a copy of the source, ``text`` becomes ``instead``."""

    name: str
    text: str
    instead: str
    violates: str


BACK = "the state of before the cut comes back"
ERASED = "what is programmed was erased before, and surely"
FORGOTTEN = "a card that is erased is not in flash"
NOTED = "a count comes back as it was kept, or later"
RULES = [
    Rule("an image without notes", "log->job = IMAGE_NOTES;", "log->job = COPY_1;", NOTED),
    Rule(
        "notes are written behind a cut",
        "for (uint32_t i = 0; i < log->note_count && log->grows; i++) {",
        "for (uint32_t i = 0; i < log->note_count; i++) {",
        ERASED,
    ),
    Rule(
        "an image goes over what a cut has left",
        "        log->job = ERASE;\n        log->at = 0;\n    }\n    return",
        "        log->job = IMAGE;\n        log->at = 0;\n    }\n    return",
        ERASED,
    ),
    Rule("appended behind a cut", "(uint8_t)(log->grows && space", "(uint8_t)(space", BACK),
    Rule("one header", "if (log->job == COPY_1) {\n", "if (0) {\n", BACK),
    Rule(
        "an image without its second header is taken",
        "second[newer] ? newer : 1u - newer",
        "newer",
        BACK,
    ),
    Rule(
        "a second header that has rotted is missing",
        "        second = copy == 1;\n",
        "        second = copy == 1 && h.crc == tfin_crc32(0, &h, offsetof(header, crc));\n",
        BACK,
    ),
    Rule(
        "a change while an image is written",
        "    while (writes_image(log)) {\n",
        "    while (0) {\n",
        BACK,
    ),
    Rule(
        "what the engine has not done is written",
        "    int rc = tfin_apply_outcome(log->engine, outcome);\n    if (rc == TFIN_OK) {\n",
        "    int rc = TFIN_OK;\n    if (rc == TFIN_OK) {\n",
        BACK,
    ),
    Rule("the half with the card stays", "log->alone ? ERASE_OLD : REST", "REST", FORGOTTEN),
    Rule(
        "the half with the card stays after a cut",
        "h[half].alone && !other_is_blank(log, 0, map->state[0].size)",
        "0",
        FORGOTTEN,
    ),
    Rule(
        "what says that it was erased is believed",
        " || !other_is_blank(log, log->at, end)",
        "",
        ERASED,
    ),
    Rule(
        "a second header that failed counts at the next boot",
        "(uint8_t)(log->grows && log->job == COPY_1)",
        "log->grows",
        BACK,
    ),
    Rule(
        "what is pushed out is not written",
        "    if (rc == TFIN_OK && pushed_out) {\n",
        "    if (0 && pushed_out) {\n",
        BACK,
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_that_is_switched_off_is_missed(rule: Rule, folder: Path, tmp_path: Path) -> None:
    copy = switched_off(SOURCE, "state_log.c", rule.text, rule.instead, tmp_path)
    program = build(folder, tmp_path, copy, "-w")
    done = call(program, str(6 * STEPS), "1", code=None, deadline_s=1200)
    assert done.returncode == 1, done.stdout
    assert "violated: " + rule.violates in done.stdout


def test_flash_that_was_tampered_with_harms_nothing(folder: Path, tmp_path: Path) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer watch the log; the engine is that of the
    other tests."""
    sanitizers = "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
    program = build(folder, tmp_path, SOURCE, *sanitizers)
    done = call(program, "noise", "20000", deadline_s=600)
    boots, came_back = (int(number) for number in re.findall(r"\d+", done.stdout))
    assert boots == 20_000
    assert came_back > 1_000
