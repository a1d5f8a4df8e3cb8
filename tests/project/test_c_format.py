# SPDX-License-Identifier: Apache-2.0
"""`make lint` refuses C that is not formatted, and takes what is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = "int f(int x)\n{\n    return x + 1;\n}\n"
BAD = {
    "a tab": GOOD.replace("    ", "\t"),
    "a brace on the function's line": "int f(int x) {\n    return x + 1;\n}\n",
    "a long line": GOOD.replace("x + 1", "x" + " + 1" * 30),
    "a long comment": f"/* {'word ' * 30}*/\n{GOOD}",
}


def lint(folder: Path, text: str) -> int:
    """The exit code of the command of the Makefile in a repository with one file of this text."""
    bin_ = Path(sys.executable).parent
    if not (bin_ / "clang-format").exists():
        pytest.skip("needs clang-format of the extra dev: pip install tinyfin[dev]")
    commands = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if "-Werror $$" in line
    ]
    assert len(commands) == 1, "lint does not check the format of C"
    command = commands[0].strip().replace("$(BIN)", str(bin_)).replace("$$", "$")
    shutil.copy(ROOT / ".clang-format", folder)
    (folder / "file.c").write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "file.c"], cwd=folder, check=True)
    return subprocess.run(["sh", "-c", command], cwd=folder, timeout=60).returncode


def test_formatted_c_passes(tmp_path: Path) -> None:
    assert lint(tmp_path, GOOD) == 0


@pytest.mark.parametrize("what", BAD)
def test_other_c_is_refused(tmp_path: Path, what: str) -> None:
    assert lint(tmp_path, BAD[what]) != 0
