# SPDX-License-Identifier: Apache-2.0
"""Prose in the Markdown of the repository has lines of 100 columns at most.

Longer lines may be rows of tables, code, and lines without a blank to break at, such as a URL.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support.process import call

ROOT = Path(__file__).parents[2]
WIDTH = 100
GENERATED = {"MODEL_CARD.md"}
"""Written by ``tinyfin evaluate --card``; an earlier tinyfin wrote one sentence a line."""

FENCE = re.compile(r" *(```|~~~)")
ITEM = re.compile(r" *([*+-]|\d+\.) +")


def too_long(text: str) -> list[str]:
    """The lines of prose that are longer than ``WIDTH`` although they have a blank to break at."""
    found: list[str] = []
    fence, code, blank, item = "", False, True, 0
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        mark = FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1] == fence else fence
        elif line.strip():
            # indented code follows an empty line, four columns deeper than the text of its item
            code = indent >= item + 4 and (blank or code)
            if not code:
                fence = mark[1] if mark else ""
                marker = ITEM.match(line)
                if marker:
                    item = len(marker[0])
                elif blank:
                    item = min(item, indent)
                words = line[len(marker[0]) if marker else 0 :].split()
                if len(line) > WIDTH and len(words) > 1 and words[0][0] != "|":
                    found.append(line)
        blank = not line.strip()
    return found


def prose_of(page: Path) -> list[str]:
    """A page's Markdown; that of a notebook cell by cell."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return [text]
    cells = json.loads(text)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone: git names the pages")
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_prose_is_wrapped() -> None:
    listed = call("git", "-C", ROOT, "ls-files", "*.md", "*.ipynb")
    pages = [ROOT / name for name in listed.stdout.splitlines()]
    assert {"README.md", "data.md", "first_hour.ipynb"} <= {page.name for page in pages}
    found = {
        page.relative_to(ROOT).as_posix(): lines
        for page in pages
        if page.name not in GENERATED
        and (lines := [line for text in prose_of(page) for line in too_long(text)])
    }
    assert found == {}


LONG = "word " * 25


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"* {LONG}",
        f"1. a\n   * {LONG}",
        f"1. a\n\n   {LONG}",
        f"* a\n    {LONG}",  # no empty line before it: prose of the item
        f"text\n    {LONG}",
        f"```\n{LONG}\n```\n\n{LONG}",
        f"    code\n\n{LONG}",
        f"[link](https://example.org/{'x' * 100}) and {LONG}",
    ],
)
def test_long_prose_is_found(text: str) -> None:
    assert [line.strip(" *") for line in too_long(text)] == [text.splitlines()[-1].strip(" *")]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 99 + "é",
        f"| {LONG} |",
        f"```sh\n{LONG}\n```",
        f"a\n\n    {LONG}\n\n    {LONG}",
        f"1. a\n\n       {LONG}",
        f"* a\n\n  ```\n  {LONG}\n  ```",
        f"1. a\n\n       code\n\n```toml\n{LONG}\n```",
        f"* https://example.org/{'x' * 100}",
        f"[link](https://example.org/{'x' * 100})",
    ],
)
def test_what_cannot_be_wrapped_is_left_alone(text: str) -> None:
    assert too_long(text) == []
