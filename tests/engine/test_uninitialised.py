# SPDX-License-Identifier: Apache-2.0
"""The engine reads no unwritten byte: MemorySanitizer, over memory that is not cleared."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engine.corpus import golden_mirror
from tests.support import packs
from tests.support.native import LIBRARY, ROOT, TEST
from tests.support.process import call, need
from tinyfin import paths
from tinyfin.codegen import monocypher
from tinyfin.codegen.emit import emit

PACKS = {
    "golden vectors of 3 inputs": golden_mirror,
    "cards and labels": lambda: packs.build(packs.rich()),
    "payment": lambda: (paths.project_dir() / "models/payment/model.tfpack").read_bytes(),
}


def run(pack: bytes, folder: Path, *defines: str) -> subprocess.CompletedProcess[str]:
    need("clang")
    emit(pack, folder)
    crypto = monocypher.obtain(ROOT / ".pio" / "tinyfin")
    program = folder / "uninitialised"
    flags = ["-std=c11", "-O1", "-g", "-fsanitize=memory", *defines]
    flags += [f"-D{define}" for define in monocypher.DEFINES]
    flags += [f"-I{path}" for path in (folder, LIBRARY / "include", crypto)]
    sources = [TEST / "uninitialised.c", folder / "tinyfin_pack.c", crypto / "monocypher.c"]
    call("clang", *flags, *sources, *sorted((LIBRARY / "src").rglob("*.c")), "-o", program)
    return call(program, code=None)


@pytest.mark.parametrize("name", PACKS)
def test_nothing_uninitialised_is_read(name: str, tmp_path: Path) -> None:
    done = run(PACKS[name](), tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_the_sanitizer_would_see_it(tmp_path: Path) -> None:
    done = run(golden_mirror(), tmp_path, "-DSABOTAGE")
    assert done.returncode != 0
    assert "use-of-uninitialized-value" in done.stderr
