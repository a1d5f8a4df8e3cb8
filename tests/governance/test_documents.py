# SPDX-License-Identifier: Apache-2.0
"""Governance documents say what the lines of the log say, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import registries
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.registries import START_S, key, policy
from tinyfin.governance.documents import Settings, build, pages
from tinyfin.registry.registry import Registry

EVIDENCE = {"evaluation.json": b"{}"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    later = SimpleNamespace(time=lambda: START_S + 400 * 86400)
    monkeypatch.setattr("tinyfin.registry.log.time", later)


@pytest.fixture
def made(tmp_path: Path) -> Registry:
    """One pack, promoted two days after the first event, by persons with awkward names."""
    found = registries.registry(tmp_path / "registry", policy("a", "b|<i>", "c"))
    contents = registries.contents(tmp_path / "run", EVIDENCE)
    pack = contents.facts.pack_id
    found.add(contents.files, key("a"), now_s=START_S + 60)
    found.validate(pack, {}, key("b|<i>"), now_s=START_S + 120)
    for name in ("b|<i>", "c"):
        found.record("approved", pack, {}, key(name), now_s=START_S + 180)
    found.record("released", pack, {}, key("c"), now_s=START_S + 240)
    promoted = {"stage": "pilot", "fleet": "", "wave": 1}
    found.record("promoted", pack, promoted, key("c"), now_s=START_S + 2 * 86400)
    return found


def log_lines(registry: Registry) -> list[bytes]:
    return registry.log.path.read_bytes().splitlines(keepends=True)


def row(text: str, clause: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {clause} |"))


def test_every_change_is_a_line_of_the_log(made: Registry) -> None:
    text = pages(build(made, None, Settings()))["changes.md"]
    lines = log_lines(made)
    assert len(re.findall(r"^\| \d+ \|", text, re.M)) == len(lines) == 7
    for line in lines:
        event = json.loads(line)
        shown = row(text, str(event["number"]))
        assert hashlib.sha256(line).hexdigest() in shown
        assert event["kind"] in shown
        assert event["time"] in shown


def test_names_do_not_become_columns_or_html(made: Registry) -> None:
    text = "".join(pages(build(made, None, Settings())).values())
    assert "b\\|&lt;i>" in text
    assert "<i>" not in text


def test_the_inventory_at_a_date_and_what_nobody_has_said(made: Registry) -> None:
    now = build(made, None, Settings()).models[0]
    assert [place.stage for place in now.service] == ["pilot"]
    assert [one.by for one in now.approvals] == ["b|<i>", "c"]
    earlier = build(made, "2026-10-26T23:59:59Z", Settings())
    assert earlier.models[0].standing == "released"
    assert not earlier.models[0].service
    text = pages(earlier)["inventory.md"]
    for key_ in ("purpose", "materiality tier", "owner", "limits", "monitoring", "in service"):
        assert row(text, key_) == f"| {key_} | **gap** |"


def test_a_row_without_evidence_is_a_gap(made: Registry, tmp_path: Path) -> None:
    """The control: the same rows when the evidence is not there."""
    text = pages(build(made, None, Settings()))["maps.md"]
    assert row(text, "MANAGE 1.1").count("event ") == 2
    assert "file evaluation.json" in row(text, "MEASURE 2.3")
    for clause in ("GOVERN 3.1", "MANAGE 2.4", "MANAGE 4.3", "A.5.2", "10.4.1"):
        assert row(text, clause).endswith("| **gap** |")
    bare = registries.registry(tmp_path / "bare")
    bare.add(registries.contents(tmp_path / "bare_run").files, key("a"), now_s=START_S + 60)
    text = pages(build(bare, None, Settings()))["maps.md"]
    for clause in ("MANAGE 1.1", "MEASURE 2.3"):
        assert row(text, clause).endswith("| **gap** |")


def test_the_same_bytes_elsewhere(made: Registry, tmp_path: Path) -> None:
    """In another folder, time zone, locale and order of hashes."""
    found = []
    elsewhere = ((1, "UTC", "C", "1"), (2, "Pacific/Apia", "C.UTF-8", "2"))
    for number, zone, locale, seed in elsewhere:
        place = tmp_path / f"from{number}"
        place.mkdir()
        command = [sys.executable, "-m", "tinyfin", "governance", "out"]
        more = ["--registry", str(made.path), "--at", "2026-11-03"]
        env = {**os.environ, "TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed}
        subprocess.run([*command, *more], cwd=place, env=env, check=True, timeout=300)
        found.append({one.name: one.read_bytes() for one in (place / "out").iterdir()})
    assert found[0] == found[1]
    assert sorted(found[0]) == [
        "changes.md",
        "governance.json",
        "inventory.md",
        "maps.md",
        "roles.md",
    ]
    for data in found[0].values():
        assert not re.search(rb"(?<![0-9a-f])\d{13,19}(?![0-9a-f])", data)


def test_the_command_of_the_documentation(
    made: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = Path(__file__).resolve().parents[2].joinpath("docs/governance.md").read_text()
    blocks = re.findall(r"(?:^    .*\n)+", guide, re.M)
    model = build(made, None, Settings()).models[0].model_id
    stated = re.sub(r"models\.\w+", f'models."{model}"', blocks[1].replace("\n    ", "\n"))
    (tmp_path / "stated.toml").write_text(stated.strip())
    monkeypatch.chdir(tmp_path)
    answer = tinyfin_json(blocks[0].strip().removeprefix("tinyfin "))
    text = (tmp_path / "build/governance/inventory.md").read_text()
    assert row(text, "owner") == "| owner | Card risk |"
    assert answer["gaps"] == (tmp_path / "build/governance/maps.md").read_text().count("**gap**")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[models.none]\nowner = "x"', "the registry holds no such model"),
        ('[models.none]\nownr = "x"', "models.none.ownr: unknown key"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    made: Registry, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "stated.toml").write_text(text)
    line = f"governance {tmp_path}/out --registry {made.path} --settings {tmp_path}/stated.toml"
    assert said in tinyfin(line, code=3).output
    assert not (tmp_path / "out" / "inventory.md").exists()


def test_roles_are_those_of_the_policy(tmp_path: Path) -> None:
    one = policy("a", "b", "c")
    one.persons[1].signs = ["candidate.*"]  # as a machine's key has
    one.persons[2].signs = ["approved", "policy"]
    found = registries.registry(tmp_path / "registry", one)
    shown = {role.name: role.signs for role in build(found, None, Settings()).roles}
    assert shown["c"] == ["approved", "policy"]
    assert shown["b"] == ["candidate.requested", "candidate.answered"]
    assert "released" in shown["a"]
