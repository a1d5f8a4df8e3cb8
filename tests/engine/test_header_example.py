# SPDX-License-Identifier: Apache-2.0
"""The header is the manual: its example compiles without a warning and does what it says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.cli import tinyfin
from tests.support.native import HEADER, LIBRARY, PORT, SOURCES, TEST, WARNINGS, compiler
from tests.support.process import call, need
from tinyfin.codegen import monocypher
from tinyfin.codegen.emit import emit
from tinyfin.features.compiler import compile_program
from tinyfin.pack.container import build_pack
from tinyfin.schema import PAYMENT

PAYMENT_PACK = Path(__file__).resolve().parents[2] / "models" / "payment" / "model.tfpack"


def example(header: Path = HEADER) -> str:
    """The C between [example] and [/example], out of its comment."""
    found = re.search(r"\[example\]\n(.*?)\n \*\s+\[/example\]", header.read_text(), re.DOTALL)
    assert found, f"{header.name} has lost its example"
    lines = [re.sub(r"^ \* {0,3}", "", line) for line in found[1].splitlines()]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example and the generated header of a pack of payments."""
    folder = tmp_path_factory.mktemp("example")
    emit(build_pack(PAYMENT, compile_program("default", PAYMENT)), folder)
    (folder / "example.c").write_text("/* from tinyfin.h */\n" + example())
    return folder


def test_on_this_host(generated: Path, tmp_path: Path) -> None:
    main = tmp_path / "main.c"
    body = "int main(void) { return -check_transaction(); }\n"
    main.write_text("int check_transaction(void);\n" + body)
    answer = tinyfin("codegen", PAYMENT_PACK, "--out", tmp_path / "c", "--with-monocypher")
    folder = tmp_path / "c" / "monocypher"
    assert str(folder / "monocypher.c") in answer.output
    flags = ["-std=c99", *WARNINGS, f"-I{LIBRARY / 'include'}", f"-I{generated}", f"-I{folder}"]
    sources = [main, generated / "example.c", generated / "tinyfin_pack.c", *SOURCES, PORT]
    defines = [f"-D{define}" for define in monocypher.DEFINES]
    binary = tmp_path / "example"
    call(compiler(), *flags, *sources, "-o", binary, *defines, folder / "monocypher.c")
    call(binary)


AROUND = {
    "tinyfin_monitor.h": """
        #define TINYFIN_MONITOR_BYTES 96
        int start(tfin_engine *, const uint8_t *, uint32_t);
        int check_event(tfin_engine *, const tfin_event *, tfin_verdict *);
        void log_level(uint32_t level);
    """,
    "tinyfin_probation.h": """
        int begin(tfin_engine *, const void *, size_t, const tfin_trust *);
        int check(tfin_engine *, const tfin_event *, tfin_verdict *);
        void act_on(const tfin_verdict *verdict);
        void report(enum tfin_probation_result result);
    """,
}
"""What an application has around the examples of the other headers."""


@pytest.mark.parametrize("name", AROUND)
def test_the_other_manuals_compile(name: str, tmp_path: Path) -> None:
    source = f'#include "{name}"\n{AROUND[name]}\n{example(LIBRARY / "include" / name)}'
    (tmp_path / "example.c").write_text(source)
    flags = ["-std=c99", *WARNINGS, f"-I{LIBRARY / 'include'}", "-fsyntax-only"]
    call(compiler(), *flags, tmp_path / "example.c")


def test_on_the_emulated_terminal(generated: Path, tmp_path: Path) -> None:
    from tinyfin.targets.build import build
    from tinyfin.targets.emulate import Emulator

    need("arm-none-eabi-gcc", "qemu-system-arm")
    app = tmp_path / "app"
    app.mkdir()
    shutil.copy(TEST / "example" / "main.c", app)
    shutil.copy(generated / "example.c", app)
    pack = tmp_path / "generated"
    pack.mkdir()
    for path in generated.glob("tinyfin_pack.*"):
        shutil.copy(path, pack)
    image = build("cortex-m4", app=app, generated_dir=pack, build_dir=tmp_path / "pio")
    with Emulator(image.target, image.elf, seed=1) as emulator, emulator.connect(20) as link:
        said = sample.line_of(link)
        assert said == b"example TFIN_OK: done\n"
        assert emulator.wait(20) == 0
