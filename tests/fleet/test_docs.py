# SPDX-License-Identifier: Apache-2.0
"""docs/fleet.md and docs/formats/lake.md do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import fleet as speed
from tests.support import fleet as bench
from tests.support import registries
from tests.support.cli import tinyfin
from tests.support.process import ROOT, needs_cortex_m
from tests.support.run_json import RUN
from tinyfin.fleet.admission import Why
from tinyfin.fleet.requests import Cause, requests_of
from tinyfin.fleet.tables import SCHEMAS
from tinyfin.fleet.views import VIEWS, connect, rows_of

PAGE = (ROOT / "docs" / "fleet.md").read_text("utf-8")
LAKE = (ROOT / "docs" / "formats" / "lake.md").read_text("utf-8")


@pytest.mark.live
@pytest.mark.timeout(1600)
@needs_cortex_m
def test_a_first_fleet(tmp_path: Path) -> None:
    """docs/first_fleet.md as it stands there, but for the ports."""
    text = (ROOT / "docs" / "first_fleet.md").read_text("utf-8")
    script = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    ports = bench.free_ports(2)
    script = re.sub(r"127\.0\.0\.1:500\$(\w)", r"127.0.0.1:${ports[$\1]}", script)
    ended = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"
    head = f"set -e\nports=(0 {ports[0]} {ports[1]})\n{ended}\n"
    (tmp_path / "models").symlink_to(ROOT / "models")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", head + script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^\w{16} +2025-01-\d\d +(\d+) +(\d+)$", done.stdout, re.MULTILINE)
    assert rows == [("100", "1"), ("200", "1")]
    [said] = re.findall("`(north: [^`]+)`", text)
    assert said in done.stdout.splitlines()
    assert done.stdout.count(",offer\n") == 2
    assert "No stratum can be compared yet" in done.stdout
    for page in ("north.html", "drift.html"):
        assert "<svg" in (tmp_path / page).read_text("utf-8")
    assert "No stratum can be compared yet" in (tmp_path / "drift.html").read_text("utf-8")


def test_drift_and_a_request(
    calm: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of "Drift", for a pack that is to be reviewed."""
    monkeypatch.chdir(tmp_path)
    [script] = re.findall(r"## Drift\n\n```sh\n(.*?)```", PAGE, re.DOTALL)
    released = tmp_path / "runs" / "first" / "release"
    released.mkdir(parents=True)
    shutil.copy(calm.path, released / "model.tfpack")
    (released / "release.json").write_text("{}")
    (released.parent / "run.json").write_text(json.dumps(RUN))
    (released.parent / "config.toml").write_text("[card]\nreview_by = 2025-03-01\n")
    (tmp_path / "lake").symlink_to(calm.lake.path)
    rows = [f"{bench.terminal(n).hex()},{5411 + n % 2}" for n in range(30)]
    (tmp_path / "terminals.csv").write_text("\n".join(["terminal,mcc", *rows]))
    log = registries.with_pack(tmp_path / "registry", calm.path)
    registries.key_file(tmp_path / "machine.key", "a")
    said = [tinyfin(*shlex.split(line)[1:]).output for line in script.splitlines()]
    assert "No stratum can be compared yet" in said[0]
    found = tinyfin(*shlex.split(script.splitlines()[0])[1:], "--json").stdout
    assert {one["of"] for one in json.loads(found)["strata"]} == {"5411", "5412"}
    assert "<svg" in (tmp_path / "drift.html").read_text()
    assert "age: to be reviewed by 2025-03-01" in said[1]
    [request] = requests_of(log)
    assert request.answer is not None
    assert request.answer.detail["why"] == "the shops changed their prices"


def test_every_cause_is_named() -> None:
    for cause in Cause:
        assert f"| `{cause}` |" in PAGE
    for kind in ("candidate.requested", "candidate.answered"):
        for page in ("registry.md", "formats/registry.md"):
            assert f"`{kind}`" in (ROOT / "docs" / page).read_text("utf-8")


def test_every_column_is_described() -> None:
    for name, schema in SCHEMAS.items():
        [table] = re.findall(rf"### {name}\n(.*?)\n##", LAKE, re.DOTALL)
        assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == schema.names
    views = re.findall(r"^\| `(\w+)` \|", LAKE.split("## Views")[1], re.MULTILINE)
    assert set(views) == {*VIEWS, "pack_bin", "maturity"} - {"increment"}


def test_the_columns_of_views_are_named(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *bench.fleet(1, 1))
    described = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", LAKE.split("## Views")[1], re.MULTILINE))
    counters = set(SCHEMAS["report"].names)
    with connect(lake) as base:
        for view, text in described.items():
            found = base.execute(f"SELECT * FROM {view}").description
            for column in {name for name, *_ in found} - counters:
                assert re.search(rf"\b{column}\b", text), (view, column)
        assert rows_of(base, "SELECT * FROM maturity")[0]["horizon_h"] is None


def test_every_reason_is_named() -> None:
    for why in set(Why) - {Why.ERASED}:
        assert f"(`{why}`)" in PAGE


def test_the_benchmark_compares_lakes(tmp_path: Path) -> None:
    found = speed.measure(120, tmp_path, counted=3)
    assert found.equal
    assert found.reports == 120
    assert found.deliveries > found.reports
    assert 150 < found.report_bytes < 512
