# SPDX-License-Identifier: Apache-2.0
"""docs/emv.md does what it says: its program, its capture, its dialect, its sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.engine.test_header_example import PAYMENT_PACK, example
from tests.support import captures, emv
from tests.support.cli import tinyfin
from tests.support.native import LIBRARY, WARNINGS, compiler, engine_objects
from tests.support.process import ROOT, call, need
from tinyfin.captures.iso8583 import load_dialect
from tinyfin.codegen import monocypher
from tinyfin.codegen.emit import emit
from tinyfin.data.tokens import token_of

PAGE = (ROOT / "docs" / "emv.md").read_text(encoding="utf-8")
KEY = bytes([1, 2, 3]).ljust(32, b"\0")


def block(mark: str) -> str:
    """The fenced block behind a mark."""
    found = re.search(rf"<!-- {mark} -->\n```\w*\n(.*?)```", PAGE, re.DOTALL)
    assert found, mark
    return found[1]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emv")
    emit(PAYMENT_PACK, folder)
    return folder


def flags(generated: Path) -> list[str]:
    folder = monocypher.obtain(ROOT / ".pio" / "tinyfin")
    return ["-std=c99", *WARNINGS, f"-I{LIBRARY / 'include'}", f"-I{generated}", f"-I{folder}"]


def test_the_program_reads_scores_and_decides(generated: Path, tmp_path: Path) -> None:
    main = tmp_path / "main.c"
    [program] = re.findall(r"```c\n(.*?)```", PAGE, re.DOTALL)
    main.write_text(program)
    binary = tmp_path / "program"
    sources = [main, generated / "tinyfin_pack.c", *engine_objects()]
    call(compiler(), *flags(generated), *sources, "-o", binary)
    said = call(binary).stdout
    token = token_of(captures.PUBLIC_PAN, KEY)
    found = re.fullmatch(
        rf"amount 1999 token {token:016x} score \d+ action ([012])\nask for (TC|ARQC|AAC)\n", said
    )
    assert found, said
    assert found[2] == ("TC", "ARQC", "AAC")[int(found[1])]


def test_the_example_of_the_header_compiles(generated: Path, tmp_path: Path) -> None:
    around = """
        #include "tinyfin_emv.h"
        #include "tinyfin_pack.h"
        typedef struct { uint8_t bytes[16]; } tfin_key;
        uint64_t siphash(const void *key, uint32_t what, const uint8_t *text, uint32_t size);
        int32_t boots_since_service(void);
        enum tfin_emv_cryptogram decide(tfin_engine *, const tfin_key *, const uint8_t *, uint32_t,
                                        uint32_t, uint64_t, enum tfin_emv_cryptogram);
    """
    (tmp_path / "example.c").write_text(around + example(emv.HEADER))
    call(compiler(), *flags(generated), "-fsyntax-only", tmp_path / "example.c")
    other = around + "typedef struct { uint32_t present; } other;\nTFIN_EMV_CHECK(other);\n"
    (tmp_path / "other.c").write_text(other)
    call(compiler(), *flags(generated), "-fsyntax-only", tmp_path / "other.c", code=1)


def test_the_capture_gives_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sale.hex").write_text(block("capture"))
    Path("token.key").write_text(KEY.hex())
    [line] = re.findall(r"^    tinyfin (convert sale.hex.*)$", PAGE, re.MULTILINE)
    assert tinyfin(line).stdout == block("converted")
    [row] = pq.read_table("sale.parquet").to_pylist()
    assert row["token"] == token_of(captures.PUBLIC_PAN, KEY)
    assert (row["amount_minor"], row["response"], row["atc"]) == (1999, 51, 0x0102)


def test_the_dialect_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(block("dialect"))
    dialect = load_dialect(str(tmp_path / "mine.toml"))
    assert (dialect.header_bytes, dialect.spec["48"]["max_len"]) == (5, 200)


def test_the_sizes_are_of_today(tmp_path: Path) -> None:
    """Within a tenth: another GCC makes other code."""
    need("arm-none-eabi-gcc", "arm-none-eabi-size")
    rows = re.findall(r"^\| (cortex-m\d) \| ([\d, |]+) \|$", PAGE, re.MULTILINE)
    assert [core for core, _ in rows] == ["cortex-m0", "cortex-m4"]
    for core, cells in rows:
        sizes = []
        for name in ("tlv", "iso8583", "values", "decide"):
            out = tmp_path / f"{name}.o"
            folders = [LIBRARY / "include", ROOT / "firmware" / "ports" / "include"]
            call(
                *("arm-none-eabi-gcc", "-Os", "-std=c99", "-mthumb", f"-mcpu={core}"),
                *(f"-I{folder}" for folder in folders),
                *("-c", LIBRARY / "src" / "emv" / f"{name}.c", "-o", out),
            )
            sizes.append(int(call("arm-none-eabi-size", out).stdout.split()[6]))
        shown = [int(cell.replace(",", "")) for cell in cells.split(" | ")]
        for now, then in zip([*sizes, sum(sizes)], shown, strict=True):
            assert abs(now - then) <= max(8, then // 10), (core, sizes)
