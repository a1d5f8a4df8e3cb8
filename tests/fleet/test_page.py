# SPDX-License-Identifier: Apache-2.0
"""The page of a fleet: what it says, and how a browser shows it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.fleet.conftest import TERMINALS
from tests.fleet.test_metrics import LAST, sources
from tests.support.cli import tinyfin_json
from tests.support.process import ROOT
from tinyfin.fleet import monitors
from tinyfin.fleet.views import connect
from tinyfin.fleet_page import alerts_per_thousand, render
from tinyfin.prometheus.figures import Sources

__all__ = ["sources"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = (390, 1280)
POLICY = "default-src 'none'"
"""The page forbids the browser every request; the script that looks at it is let in."""

# what a browser makes of it: its width, and the least contrast of a text with what is behind it
# (WCAG 2.2, 1.4.3: relative luminance and contrast ratio)
LOOK = """
<script>addEventListener("load", () => {
  const rgb = css => (css.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(x => x / 255)
      .map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = 21, where = "";
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) { const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !e.getClientRects().length) continue;
    if (e.closest("script, style")) continue;
    const style = getComputedStyle(e), svg = e.closest("svg");
    const a = light(rgb(svg ? style.fill : style.color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < least) { least = ratio; where = texts.currentNode.data.trim(); } }
  const found = { width: document.documentElement.scrollWidth, window: innerWidth, least, where };
  document.body.setAttribute("data-look", JSON.stringify(found)); });</script>
"""


@pytest.fixture(scope="module")
def html(sources: Sources) -> str:
    return render(halves(sources))


def halves(given: Sources) -> Sources:
    """Two strata, of half the terminals each."""
    strata = given.strata or {}
    sides = {name: ("north", "south")[i % 2] for i, name in enumerate(strata)}
    return dataclasses.replace(given, strata=sides)


def looked_at(html: str, width: int, folder: Path) -> dict[str, Any]:
    """What Chromium found, without any host to ask."""
    assert CHROMIUM is not None
    path = folder / "page.html"
    assert POLICY in html
    open_ = html.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'")
    path.write_text(open_.replace("</body>", f"{LOOK}</body>"))
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},2000",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = re.search(r'data-look="([^"]*)"', done.stdout)
    assert said, done.stderr
    found: dict[str, Any] = json.loads(said[1].replace("&quot;", '"'))
    found["console"] = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return found


class _Refers(HTMLParser):
    """What a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            str(value)
            for name, value in attrs
            if name in ("src", "href", "data", "poster") and not str(value).startswith("#")
        ]


def test_the_page_is_one_file_with_equal_bytes(sources: Sources, html: str) -> None:
    assert html == render(halves(sources))
    refers = _Refers()
    refers.feed(html)
    assert refers.found == []
    assert "url(" not in html
    assert "@import" not in html


def test_states_have_words_and_marks(html: str) -> None:
    assert "… approved" in html
    assert re.search(r"drifted, - cannot be said", html)
    assert "under 5" in html  # the one terminal that the inventory has not


def test_a_stratum_may_be_called_as_a_number_of_days(sources: Sources) -> None:
    """Its terminals are silent no more than the others."""
    threes = dataclasses.replace(sources, strata=dict.fromkeys(sources.strata or {}, "3"))
    late = dataclasses.replace(threes, packs=(), day=LAST + 12)
    found = re.search(r"silent for three days\D*(\d+)", render(late))
    assert found is not None
    assert int(found[1]) == TERMINALS


def test_alerts_are_counted_as_the_monitors_do(calm: SimpleNamespace) -> None:
    """Against a sum over reports in plain Python."""
    with connect(calm.lake, LAST) as base:
        counts = monitors.read_counts(base, calm.pack)
    names, values, released = alerts_per_thousand(calm.pack, counts, LAST)  # type: ignore[misc]
    at = calm.pack.drift.score.edges.index(calm.pack.decision.alert_q32) + 1
    alerts = events = 0
    for day, settled, row in zip(counts.day, counts.settled, counts.counts, strict=True):
        if settled and LAST - 7 < day <= LAST:
            bins = [int(x) for x in row[: calm.pack.drift.score.bins]]
            alerts, events = alerts + sum(bins[at:]), events + sum(bins)
    assert values[-1] == pytest.approx(1000 * alerts / events)
    assert len(names) == len(values)
    assert np.isnan(values[0])
    rows = calm.pack.lineage["score_bins"]["rows"]
    assert released == pytest.approx(1000 * sum(rows[at:]) / sum(rows))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
def test_a_browser_shows_it(html: str, tmp_path: Path) -> None:
    for width in WIDTHS:
        found = looked_at(html, width, tmp_path)
        assert found["width"] <= found["window"], found
        assert found["least"] >= 4.5, found
        assert found["console"] == []
    wide = html.replace("</main>", '<div style="width: 2000px">x</div></main>')
    pale = html.replace("</main>", '<p style="color: #ccc">pale</p></main>')
    loud = html.replace("</main>", "<script>console.error('loud')</script></main>")
    assert "</main>" in html
    assert looked_at(wide, 390, tmp_path)["width"] > 390
    assert looked_at(pale, 390, tmp_path)["where"] == "pale"
    assert looked_at(loud, 390, tmp_path)["console"]


def test_the_verb(calm: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "fleet.html"
    said = tinyfin_json("fleet", "page", calm.lake.path, "--out", out, "--as-of", "2025-02-20")
    assert said == {"file": str(out), "as_of": "2025-02-20"}
    assert "up to 2025-02-20" in out.read_text()
    assert "tinyfin fleet page" in (ROOT / "docs" / "fleet.md").read_text()
