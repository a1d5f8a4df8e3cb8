# SPDX-License-Identifier: Apache-2.0
"""Packs side by side in one firmware: names of their own, the kernels of all, the same verdicts."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import pytest

from tests.support.cli import tinyfin
from tests.support.process import call, need, needs_cortex_m
from tests.support.sample import decided
from tinyfin import paths
from tinyfin.codegen.emit import emit
from tinyfin.data.transactions import ADVICE
from tinyfin.errors import InputError
from tinyfin.formats import KERNEL_NAMES
from tinyfin.schema import ENTRY_MODES, PAYMENT
from tinyfin.targets import build as building
from tinyfin.targets.emulate import Emulator
from tinyfin.twin import Twin

MODELS = paths.project_dir() / "models"
LIBRARY = paths.firmware_dir() / "lib" / "tinyfin"
PAGE = paths.project_dir() / "docs" / "firmware.md"
EXAMPLE = paths.firmware_dir() / "examples" / "several_packs"
PACKS = {"payment": "payment", "unusual": "label_free", "health": "terminal_health"}
HOURS, SAGS_FROM, PAYMENTS = 400, 300, 3
BOTH = 1 << KERNEL_NAMES.index("FULLY_CONNECTED") | 1 << KERNEL_NAMES.index("DENSITY")


def pack_of(prefix: str) -> bytes:
    """That of models; the payment pack with thresholds that the example's few payments reach."""
    pack = (MODELS / PACKS[prefix] / "model.tfpack").read_bytes()
    if prefix != "payment":
        return pack
    scores = sorted(verdict.score_q32 for verdict in Watch(pack).payments())
    online, verify, decline = (scores[int(share * len(scores))] for share in (0.9, 0.94, 0.98))
    thresholds = {"go_online_q32": online, "verify_q32": verify, "decline_q32": decline}
    return decided(pack, **thresholds, never_decline=False)


def noise(x: int) -> int:
    x = x * 2654435761 % 2**32
    return x ^ x >> 15


class Watch:
    """What an engine of the example does, by the twin."""

    def __init__(self, pack: bytes) -> None:
        self.twin = Twin(pack)
        self.crc = 0
        self.advised = [0] * len(ADVICE)

    def judge(self, id: int, t_s: int, values: list[int], present: int) -> object:
        verdict = self.twin.score(0, id, t_s, t_s, values, present)
        answer = self.twin.features(0).astype("<i2").tobytes()
        answer += verdict.score_q32.to_bytes(4, "little") + verdict.flags.to_bytes(2, "little")
        self.crc = zlib.crc32(answer + bytes([verdict.action]), self.crc)
        self.advised[3 if verdict.action == 2 else verdict.action + (verdict.flags >> 6)] += 1
        assert self.twin.outcome(0, id, t_s, int(verdict.action == 2), -1, verdict.action) == 0
        return verdict

    def payments(self) -> list[object]:
        names = ("amount_minor", "token", "entry_mode")
        places = [PAYMENT.index(name) for name in names]
        found = []
        for id in range(PAYMENTS, PAYMENTS * (HOURS + 1)):
            values = [0] * len(PAYMENT.fields)
            given = (
                90000 if noise(id) % 50 == 0 else 500 + noise(id) % 4000,
                1 + noise(id + 1) % 40,
                ENTRY_MODES.index("contactless_chip"),
            )
            for place, value in zip(places, given, strict=True):
                values[place] = value
            found.append(self.judge(id, 1200 * id, values, sum(1 << place for place in places)))
        return found

    def health(self) -> None:
        for hour in range(1, HOURS + 1):
            sag = (hour - SAGS_FROM) * 3 // 2 if hour > SAGS_FROM else 0
            supply, temperature = 5000 + noise(hour) % 16 - sag, 250 + hour % 24 * 3 + sag // 4
            restarts = int(sag > 80 and hour % 5 == 0)
            self.judge(hour, 3600 * hour, [supply, temperature, 0, 0, 0, restarts, 420], 127)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's commands write, one after another into one folder."""
    folder = tmp_path_factory.mktemp("several")
    section = PAGE.read_text(encoding="utf-8").partition("## Several packs")[2]
    commands = re.findall(r"^    tinyfin (codegen .*)$", section, re.MULTILINE)
    assert len(commands) == len(PACKS)
    for (prefix, model), command in zip(PACKS.items(), commands, strict=True):
        pack = folder / f"{prefix}.tfpack"
        pack.write_bytes(pack_of(prefix))
        words = command.replace(f"models/{model}/model.tfpack", str(pack))
        tinyfin(words.replace("--out generated", f"--out {folder}/generated"))
    return folder / "generated"


@needs_cortex_m
def test_each_pack_answers_as_its_twin_while_the_others_run(
    generated: Path, tmp_path: Path
) -> None:
    """On the emulated core, the events of the three interleaved; on the twins, one after another.
    All that can be advised is advised."""
    image = building.build(
        "cortex-m4", app=EXAMPLE, generated_dir=generated, build_dir=tmp_path / "pio"
    )
    with Emulator(image.target, image.elf, seed=1) as emulator, emulator.connect(30) as link:
        said = b""
        while not said.endswith(b"done\n"):
            piece = link.recv(400)
            assert piece, said
            said += piece
    lines = {}
    for prefix in PACKS:
        watch = Watch(pack_of(prefix))
        watch.health() if prefix == "health" else watch.payments()
        lines[prefix] = " ".join(map(str, (prefix, *watch.advised, watch.crc)))
        assert watch.advised[1] > 0
        assert (min(watch.advised) > 0) is (prefix == "payment")
    assert said.decode() == "\n".join([*lines.values(), "done\n"])


def test_all_names_have_the_prefix(generated: Path, tmp_path: Path) -> None:
    """No identifier of one pack is left in the C of the others; the engine's stay."""
    assert sorted(path.name for path in generated.glob("*.*")) == sorted(
        f"{prefix}_pack.{ending}" for prefix in PACKS for ending in "ch"
    )
    engines = re.compile(r"tfin_\w+|TFIN_\w+|tinyfin_monitor")
    for path in generated.glob("*_pack.[ch]"):
        prefix = path.name.removesuffix(path.suffix).removesuffix("_pack")
        names = set(re.findall(r"\b(?:tinyfin|TINYFIN|tfin|TFIN)_\w+", path.read_text()))
        assert all(engines.fullmatch(name) for name in names), path.name
        assert f"{prefix.upper()}_PACK_BYTES" in path.read_text()
        verifies = f"#define {prefix.upper()}_VERIFY 1\n" in path.read_text()
        assert verifies is (path.name == "payment_pack.h")
    use = tmp_path / "all.c"
    headers = "".join(f'#include "{prefix}_pack.h"\n' for prefix in PACKS)
    use.write_text(f'#include "tinyfin.h"\n{headers}payment_payment_t a; unusual_payment_t b;\n')
    include = [f"-I{generated}", f"-I{LIBRARY / 'include'}"]
    warn = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    sources = sorted(generated.glob("*_pack.c"))
    for compiler in (["gcc", "-std=c99"], ["g++", "-std=c++11", "-xc++"]):
        call(*compiler, *warn, *include, use, *sources)


def test_the_default_prefix_changes_no_byte(tmp_path: Path) -> None:
    pack = MODELS / "payment" / "model.tfpack"
    plain, named = (
        emit(pack, tmp_path / "a", tflite=b"x"),
        emit(pack, tmp_path / "b", tflite=b"x", prefix="tinyfin"),
    )
    assert [path.name for path in plain] == [path.name for path in named]
    for one, other in zip(plain, named, strict=True):
        assert one.read_bytes() == other.read_bytes()
    own = emit(pack, tmp_path / "c", tflite=b"x", prefix="till")
    assert [path.name for path in own][2:] == ["till_model_tflite.h", "till_model_tflite.c"]


@pytest.mark.parametrize("prefix", ["", "2nd", "a-b", "a b", "über", "_pos", "a\n"])
def test_a_prefix_that_begins_no_c_name_is_refused(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a C name cannot begin with it") as caught:
        emit(MODELS / "payment" / "model.tfpack", tmp_path, prefix=prefix)
    assert repr(prefix) in str(caught.value)


def test_prefixes_that_differ_in_capitals_alone_are_refused(tmp_path: Path) -> None:
    """Their macros and include guards would be one."""
    pack = MODELS / "payment" / "model.tfpack"
    emit(pack, tmp_path, prefix="pay")
    with pytest.raises(InputError, match=r"pay_pack\.h is of a prefix that differs in capitals"):
        emit(pack, tmp_path, prefix="PAY")
    emit(pack, tmp_path, prefix="pay")


def test_prefixes_that_cannot_be_are_named(tmp_path: Path) -> None:
    pack = MODELS / "payment" / "model.tfpack"
    for words, told in (
        ("--prefix TFIN", "the engine's"),
        ("--prefix pos --tflm", "--tflm is for one pack"),
    ):
        done = tinyfin(f"codegen {pack} --out {tmp_path}/g {words}", code=None)
        assert done.exit_code == 3
        assert told in done.stderr
        assert not (tmp_path / "g").exists()


# -------------------------------------------------------------------------- kernels of all packs


def test_make_links_the_kernels_of_all_packs(generated: Path, tmp_path: Path) -> None:
    need("make")
    makefile = tmp_path / "Makefile"
    makefile.write_text(
        f"TINYFIN_GENERATED := {generated}\ninclude {LIBRARY}/tinyfin.mk\n"
        "all:\n\t@echo $(TINYFIN_CFLAGS)\n"
    )
    assert f"-DTFIN_KERNELS={BOTH}u" in call("make", "-f", makefile).stdout.split()


def test_cmake_links_the_kernels_of_all_packs(generated: Path, tmp_path: Path) -> None:
    need("cmake", "make")
    call(
        *("cmake", "-S", LIBRARY, "-B", tmp_path, "-G", "Unix Makefiles"),
        f"-DTINYFIN_GENERATED={generated}",
        "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
    )
    commands = json.loads((tmp_path / "compile_commands.json").read_text())
    (command,) = [one["command"] for one in commands if one["file"].endswith("network/net.c")]
    assert f"-DTFIN_KERNELS={BOTH}u" in command
    assert {Path(one["file"]).name for one in commands} >= {f"{p}_pack.c" for p in PACKS}


def test_a_kernel_that_is_left_out_does_not_compile(generated: Path) -> None:
    """Negative control: the mask of the payment pack alone."""
    sources = {p: generated / f"{p}_pack.c" for p in PACKS}

    def said(prefix: str, mask: int) -> str:
        command = ["gcc", "-std=c99", "-fsyntax-only", f"-DTFIN_KERNELS={mask}u"]
        return call(*command, f"-I{generated}", sources[prefix], code=None).stderr

    assert said("payment", 1) == said("unusual", BOTH) == said("health", BOTH) == ""
    told = said("unusual", 1)
    assert "this pack (unusual_pack.h) needs; add the bits of UNUSUAL_KERNELS" in told
