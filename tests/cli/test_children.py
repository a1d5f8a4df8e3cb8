# SPDX-License-Identifier: Apache-2.0
"""No program that tinyfin starts gets the terminal's standard input."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tinyfin import paths

CALLS = {"run", "Popen", "call", "check_call", "check_output"}


def without_stdin(source: str) -> Iterator[int]:
    """Lines of calls of subprocess that leave the child what stands there."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        of = node.func.value
        if isinstance(of, ast.Name) and of.id == "subprocess" and node.func.attr in CALLS:
            given = {keyword.arg for keyword in node.keywords}
            if not given & {"stdin", "input"}:
                yield node.lineno


def sources() -> list[Path]:
    return sorted((paths.project_dir() / "tinyfin").rglob("*.py"))


def test_every_child_is_given_its_input() -> None:
    found = [
        f"{path}:{line}"
        for path in sources()
        for line in without_stdin(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_one_without_input_is_found() -> None:
    """Control."""
    assert list(without_stdin("subprocess.run(['x'], check=True)")) == [1]
    assert not list(without_stdin("subprocess.run(['x'], stdin=subprocess.DEVNULL)"))


def test_there_is_no_other_way_to_start_one() -> None:
    for path in sources():
        text = path.read_text(encoding="utf-8")
        for words in ("os.system(", "os.popen(", "from subprocess", "import subprocess as"):
            assert words not in text, f"{path}: {words}"
