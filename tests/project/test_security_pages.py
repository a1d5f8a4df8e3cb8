# SPDX-License-Identifier: Apache-2.0
"""Every test that SECURITY.md and docs/security.md name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("SECURITY.md", "docs/security.md")
NAMED = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")


def functions_of(path: Path) -> set[str]:
    """Names of the tests in a file, without running it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {name for name in names if name.startswith("test_")}


def missing(text: str) -> list[str]:
    """What a page names that is no file, or no test of its file."""
    found = []
    for file, test in NAMED.findall(text):
        path = ROOT / file
        if not path.is_file() or (test and test not in functions_of(path)):
            found.append(f"{file}::{test}" if test else file)
    return found


def untested(text: str) -> list[str]:
    """Rows of the tables with a column of tests that name none, and do not say so."""
    found, column = [], None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif column is None:
            column = next((i for i, cell in enumerate(cells) if cell in ("test", "tests")), -1)
        elif column >= 0 and not set(line) <= set("|-: ") and cells[column] != "none":
            found += [] if NAMED.search(cells[column]) else [cells[0]]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_of_a_page_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len({name for name in NAMED.findall(text) if name[1]}) >= 15
    assert missing(text) == []
    assert untested(text) == []


def test_what_is_not_there_is_named() -> None:
    good = "tests/project/test_security_pages.py::test_what_is_not_there_is_named"
    gone = "tests/project/test_security_pages.py::test_what_nobody_wrote"
    helper = "tests/project/test_security_pages.py::missing"
    file = "tests/project/test_nowhere.py"
    assert missing(f"`{good}`, `{gone}` `{helper}` {file}::test_a, {file}") == [
        gone,
        helper,
        f"{file}::test_a",
        file,
    ]
    table = (
        f"| threat | tests |\n|---|---|\n| one | `{good}` |\n| two | trust us |\n| three | none |"
    )
    assert untested(table) == ["two"]
    assert untested("| a | b |\n|---|---|\n| one | nothing |") == []
