# SPDX-License-Identifier: Apache-2.0
"""`tinyfin report drift`, on the reports of a simulated town in which something changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import terminal_drift as demo
from tests.support.cli import tinyfin
from tinyfin.field.keys import load_fleet_key, terminal_keys
from tinyfin.field.report import Monitor, Report, Tag, encode, encode_monitor
from tinyfin.pack.container import Pack
from tinyfin.pack.monitor_image import MonitorCounts

TERMINALS, DAYS, CHANGE = 12, 84, 8


@pytest.fixture(scope="module")
def pack() -> Pack:
    return demo.monitored_pack(demo.town(1, TERMINALS, DAYS))


@pytest.fixture(scope="module")
def calm(pack: Pack) -> list[list[MonitorCounts]]:
    return demo.readings(pack, demo.town(7, TERMINALS, DAYS, attacks=demo.NO_ATTACKS))


@pytest.fixture(scope="module")
def changed(pack: Pack) -> list[list[MonitorCounts]]:
    season = {"start": "2025-03-03", "amounts": 2.0}
    how = {"attacks": demo.NO_ATTACKS, "seasons": [season]}
    return demo.readings(pack, demo.town(7, TERMINALS, DAYS, **how))


def write(folder: Path, pack: Pack, of: list[list[MonitorCounts]]) -> list[Path]:
    """A report of each terminal and week, and the pack."""
    (folder / "pack.tfpack").write_bytes(pack.data)
    tinyfin("keygen", folder / "fleet.key", "--kind", "fleet")
    fleet = load_fleet_key(folder / "fleet.key")
    paths = []
    for index, terminal in enumerate(of):
        id = index.to_bytes(8, "big")
        for week, m in enumerate(terminal):
            flat = tuple(int(n) for h in m.histograms for n in h)
            section = encode_monitor(Monitor(m.halvings, m.level, m.events, flat))
            at = 10**8 + week * 7 * 86400
            report = Report(id, 1, week + 1, pack.pack_id[:8], at, ((Tag.MONITOR, section),))
            path = folder / f"{index:02d}-{week:02d}.tfreport"
            path.write_bytes(encode(report, terminal_keys(fleet, id).report).data)
            paths.append(path)
    return paths


def test_a_change_is_raised_and_calm_is_not(
    pack: Pack, calm: list[list[MonitorCounts]], changed: list[list[MonitorCounts]]
) -> None:
    """Doubled amounts are found within 1,000 events at nearly every terminal."""
    silent = demo.judge(pack, calm)
    assert silent.comparisons > 50
    assert silent.alarms == 0
    found = demo.judge(pack, changed, CHANGE)
    assert found.compared >= TERMINALS - 2
    assert found.alarmed >= found.compared - 1
    assert sorted(found.events_until)[len(found.events_until) // 2] <= 1000


def test_reports_of_a_change(
    tmp_path: Path, pack: Pack, changed: list[list[MonitorCounts]]
) -> None:
    paths = write(tmp_path, pack, changed)
    pack_path = tmp_path / "pack.tfpack"
    done = tinyfin("report", "drift", *reversed(paths), "--pack", pack_path, "--json", code=4)
    found = json.loads(done.stdout)
    drifted = [row["terminal"] for row in found["terminals"] if row["drifted"]]
    assert len(drifted) >= TERMINALS - 2
    assert found["left_out"] == 0
    assert {len(row["stratum"]) for row in found["terminals"]} == {pack_histograms(pack)}
    text = tinyfin("report", "drift", *paths, "--pack", pack_path, code=4).output
    assert "amt_log" in text
    assert "drifted" in text


def pack_histograms(pack: Pack) -> int:
    assert pack.drift is not None
    return len(pack.drift.histograms)


def test_reports_of_a_calm_town(
    tmp_path: Path, pack: Pack, calm: list[list[MonitorCounts]]
) -> None:
    paths = write(tmp_path, pack, calm)
    how = ("--pack", tmp_path / "pack.tfpack", "--fleet-key", tmp_path / "fleet.key")
    found = json.loads(tinyfin("report", "drift", *paths, *how, "--json").stdout)
    assert not any(row["drifted"] for row in found["terminals"])
    one = json.loads(tinyfin("report", "drift", paths[3], *how, "--json").stdout)
    assert one["terminals"][0]["past"] == []
    assert "needs another report" in tinyfin("report", "drift", paths[3], *how).output


def test_what_is_refused(tmp_path: Path, pack: Pack, calm: list[list[MonitorCounts]]) -> None:
    paths = write(tmp_path, pack, calm[:1])
    own = tmp_path / "pack.tfpack"
    stock = Path(__file__).parents[2] / "models" / "payment" / "model.tfpack"
    said = tinyfin("report", "drift", *paths, "--pack", stock, code=None)
    assert (said.exit_code, "no section DRFT" in said.output) == (3, True)
    data = bytearray(paths[0].read_bytes())
    data[24] ^= 1  # of another pack
    (tmp_path / "other.tfreport").write_bytes(bytes(data))
    only = tinyfin("report", "drift", tmp_path / "other.tfreport", "--pack", own, code=None)
    assert "none of 1 reports" in only.output
    fleet = ("--fleet-key", tmp_path / "fleet.key")
    forged = tinyfin(
        "report", "drift", tmp_path / "other.tfreport", "--pack", own, *fleet, code=None
    )
    assert "its MAC is not that" in forged.output
    (tmp_path / "no.tfreport").write_bytes(b"nothing")
    none = tinyfin("report", "drift", tmp_path / "no.tfreport", "--pack", own, code=None)
    assert "is no report" in none.output
    for done in (said, only, forged, none):
        assert done.exit_code == 3
        assert "Traceback" not in done.output
