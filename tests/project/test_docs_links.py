# SPDX-License-Identifier: Apache-2.0
"""Every relative link of the pages leads to a file that is there, and every anchor to a heading."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/**/*.md", "models/**/*.md", "hil/*.md", "notebooks/*.md")
PAGES = sorted(page for place in (*PLACES, "notebooks/*.ipynb") for page in ROOT.glob(place))
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)")
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page's Markdown without its blocks of code; of a notebook, that of its text cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(x["source"]) for x in cells if x["cell_type"] == "markdown")
    return FENCE.sub("", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page, and those that the page sets itself."""
    text = prose(page)
    found = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ +(.*?)(?: +#+)? *$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(page: Path) -> list[str]:
    text = re.sub(r"`[^`]*`", "", prose(page))
    return [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        pages = target.suffix in (".md", ".ipynb")
        if not target.exists() or (anchor and pages and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    assert broken(page) == []


def test_links_are_found() -> None:
    """The pages have links of each kind, so that the test above compares something."""
    found = {link for page in PAGES for link in links(page)}
    assert {
        "docs/detection.md#on-public-data",
        "#the-reasons",
        "formats/",
        "payment/gate.toml",
        "../hil/README.md#4-whose-fault-is-it",
    } <= found


def test_broken_links_are_named(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One `code`, two\n\n## Same\n\n## Same\n")
    (tmp_path / "page.md").write_text(
        '<a id="set"></a>\n\n# Top\n\n[a](#top) [b](other.md#one-code-two) [c](other.md#same-1) '
        "[d](#set) [e](https://example.org/none) [f](.)\n[g](gone.md) [h](#gone)\n[i\nj]"
        "(other.md#one-code) [k](other.md#same-2) `[l](code.md)` ![m](gone.png)\n\n"
        "```\n# Fenced\n[n](fenced.md)\n```\n\n[o](#fenced)\n"
    )
    wanted = ["gone.md", "#gone", "other.md#one-code", "other.md#same-2", "gone.png", "#fenced"]
    assert broken(tmp_path / "page.md") == wanted
