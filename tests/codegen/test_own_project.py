# SPDX-License-Identifier: Apache-2.0
"""A PlatformIO project of one's own, set up as docs/ecosystems.md says, builds with the engine."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.cli import tinyfin
from tests.support.process import call
from tinyfin import __version__, paths

ROOT = paths.project_dir()
LIBRARY = paths.firmware_dir() / "lib" / "tinyfin"
MAIN = """
#include "tinyfin.h"
#include "tinyfin_pack.h"
static uint64_t memory[TINYFIN_MEMORY_BYTES / 8 + 1];
int main(void)
{
    tfin_engine engine;
    tfin_trust trust = {0};
    trust.record = tinyfin_record;
    return tfin_open(&engine, tinyfin_pack, TINYFIN_PACK_BYTES, memory, sizeof memory, &trust);
}
"""


def settings() -> str:
    """The lines that docs/ecosystems.md gives such a project."""
    page = (ROOT / "docs" / "ecosystems.md").read_text(encoding="utf-8")
    found = re.search(r"```ini\n[^`]*?(lib_deps[^`]*)```", page)
    assert found, "docs/ecosystems.md has lost its lines for platformio.ini"
    return found[1].replace("../tinyfin/firmware", str(paths.firmware_dir()))


def test_the_library_says_its_version_and_its_headers() -> None:
    facts = json.loads((LIBRARY / "library.json").read_text())
    assert facts["version"] == __version__
    assert {path.name for path in (LIBRARY / "include").iterdir()} == set(facts["headers"])


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
def test_a_project_of_ones_own_links(tmp_path: Path) -> None:
    pack = ROOT / "models" / "payment" / "model.tfpack"
    tinyfin(f"codegen {pack} --out {tmp_path}/generated --with-monocypher")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.c").write_text(MAIN)
    (tmp_path / "platformio.ini").write_text(
        f"[env:own]\nplatform = symlink://{paths.firmware_dir() / 'platform'}\n"
        f"board = cortex-m4\n{settings()}"
    )
    done = call(sys.executable, "-m", "platformio", "run", "-d", tmp_path, deadline_s=280)
    assert "tinyfin @ " + __version__ in done.stdout
    assert (tmp_path / ".pio" / "build" / "own" / "firmware.elf").is_file()
