# SPDX-License-Identifier: Apache-2.0
"""docs/rollout.md from its first command to its last, on a lake whose terminals take the pack."""

from __future__ import annotations

import contextlib
import os
import random
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.registry.test_walk_through import commands
from tests.support import campaign_reports as reports
from tests.support import fleet as bench
from tests.support import monitors
from tests.support.campaign_reports import Life
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.registries import START_S
from tinyfin import paths
from tinyfin.fleet import durable
from tinyfin.fleet.lake import Lake
from tinyfin.pack.container import Pack, open_pack, with_sections
from tinyfin.pack.probation import Look, Probation
from tinyfin.pack.signing import load_key
from tinyfin.rollout.controller import State
from tinyfin.rollout.policy import Gates, Limits, Policy
from tinyfin.rollout.store import Store

PAGE = paths.project_dir() / "docs" / "rollout.md"
REGISTRY = paths.project_dir() / "docs" / "registry.md"
REFERENCE = paths.project_dir() / "models" / "payment" / "model.tfpack"
TERMINALS = 40
START = 24 * bench.FIRST_DAY
MACHINE = (
    '\n[[persons]]\nname = "machine"\nkey = "machine.key.pub"\nsigns = ["promoted", "halted"]\n'
)


class Desk:
    """What the page begins with, and terminals that report when a day passes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.hour = START + 24 * 10
        self.lives = [Life(i, random.Random(i), -1) for i in range(TERMINALS)]
        clock = iter(range(START_S, 2**40, 60))
        patch.setattr("tinyfin.registry.log.time", SimpleNamespace(time=lambda: next(clock)))
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr("tinyfin.cli.fleet_campaign._hour", lambda at: int(at or self.hour))
        for name in ("builder", "validation", "risk", "machine"):
            tinyfin(f"keygen {name}.key --kind person")
        tinyfin("keygen release.key")
        self._packs()
        text = REGISTRY.read_text().split("```toml\n")[1].split("```")[0]
        Path("policy.toml").write_text(text + MACHINE)
        tinyfin("registry init policy.toml --key risk.key")
        tinyfin("registry add runs/second --key builder.key")
        pack = "runs/second/release/model.tfpack"
        for verb in ("validate", "approve", "release"):
            tinyfin(f"registry {verb} {pack} --key validation.key")
            if verb == "approve":
                tinyfin(f"registry {verb} {pack} --key risk.key")
        rows = [
            f"{bench.terminal(i).hex()},{'shop' if i % 3 else 'hotel'}" for i in range(TERMINALS)
        ]
        Path("terminals.csv").write_text("\n".join(["terminal,class", *rows]) + "\n")
        tinyfin(f"fleet init lake --report-keys {bench.key_file(Path.cwd())}")
        self.days(10)

    def _packs(self) -> None:
        key, drift = load_key(Path("release.key")), monitors.drift([1 << 28, 1 << 30, 1 << 31])
        parent = with_sections(open_pack(REFERENCE), {"DRFT": drift}, key)
        Path("parent.tfpack").write_bytes(parent)
        Path("public.key").write_text(Path("release.key.pub").read_text())
        release = Path("runs/second/release")
        release.mkdir(parents=True)
        cuts = (1 << 29, 1 << 30, 1 << 31)
        bounds = Probation(
            open_pack(parent).model_id, cuts, cuts, (Look(50, 40, 50, 900),), alerts_factor_q8=600
        )
        trusted = open_pack(parent, keys=[key.public])
        pack = with_sections(trusted, {"PROB": bounds.encode()}, key)
        (release / "model.tfpack").write_bytes(pack)
        for place in (release, release.parent):
            (place / "public.key").write_text(Path("release.key.pub").read_text())
        (release / "release.json").write_text("{}")
        for name in ("run.json", "metrics.json", "MODEL_CARD.md"):
            (release.parent / name).write_text("{}")
        reports.NEW = open_pack(pack).pack_id
        reports.PARENT = open_pack(parent).pack_id
        reports.BINS = reports.PARENT_BINS = 4
        for life in self.lives:
            life.running, life.counts = reports.PARENT, [0] * 4

    def days(self, count: int) -> None:
        """Reports of so many days lie in the inbox, and are merged."""
        inbox = Lake(Path("lake")).inbox
        first = self.hour - 24 * count if not self.lives[0].number else self.hour
        for day in range(count):
            for life in self.lives:
                for data in life.day(first + 24 * day):
                    durable.write(inbox / bench.name_of(data), data)
        self.hour = first + 24 * count
        tinyfin("fleet ingest lake")

    def deliver(self) -> None:
        """The agent of the terminal management system."""
        for row in tinyfin_json("fleet campaign offers lake north")["offers"]:
            if row["action"] == "offer":
                number = int(row["terminal"], 16) - int(bench.terminal(0).hex(), 16)
                self.lives[number].offered_h = self.hour


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    for name in ("NEW", "PARENT", "BINS", "PARENT_BINS"):
        monkeypatch.setattr(reports, name, getattr(reports, name))
    Path("policy-of-north.toml").write_text(toml())
    return Desk(monkeypatch)


def toml() -> str:
    return PAGE.read_text("utf-8").split("```toml\n")[1].split("```")[0]


def test_the_page(desk: Desk) -> None:
    lines = [line for line in commands(PAGE.read_text("utf-8")) if line.startswith("tinyfin ")]
    said = {}
    for line in lines:
        verb = " ".join(line.split()[1:5])
        if "campaign pause" in line:  # the campaign runs for some days
            for _ in range(2):
                desk.deliver()
                desk.days(1)
                tinyfin("fleet campaign tick lake north --registry registry --key machine.key")
        said[verb] = tinyfin(line.removeprefix("tinyfin ")).output
    shown = PAGE.read_text("utf-8").split("```\nlaboratory:")[1].split("\n```")[0]
    assert f"laboratory:{shown}" in said["fleet campaign policy --terminals"]
    assert "draft" in said["fleet campaign new lake"]
    assert "approved" in said["fleet campaign approve lake"]
    assert "running" in said["fleet campaign tick lake"]
    assert said["fleet campaign offers lake"].count(",offer\n") >= 9
    assert "entries make the members and offers" in said["fleet campaign replay lake"]
    assert "rolling_back" in said["fleet campaign halt lake"]
    page = Path("north.html").read_text("utf-8")
    assert "Members by stage" in page
    kinds = [event["kind"] for event in tinyfin_json("registry log")["events"]]
    assert kinds.count("campaign.approved") == 2
    assert kinds.count("campaign.resumed") == 1
    assert next(k for k in reversed(kinds) if "." not in k) == "promoted"
    # after the halt: exit code 4, the registry knows, nobody is offered the pack any more
    desk.days(1)
    tinyfin("fleet campaign tick lake north --registry registry --key machine.key", code=4)
    assert tinyfin_json("registry log")["events"][-1]["kind"] == "halted"
    assert {
        row["action"] for row in tinyfin_json("fleet campaign offers lake north")["offers"]
    } <= {"abort", "revert"}
    log = tinyfin_json("fleet campaign log lake north")["entries"]
    assert [one["who"] for one in log if one["kind"] == "pause"] == ["A. Miller"]
    assert [one["who"] for one in log if one["kind"] == "resume"] == ["risk"]


def test_a_pack_that_the_registry_halts_halts_the_campaign(desk: Desk) -> None:
    new = "fleet campaign new lake north --pack runs/second/release --parent parent.tfpack"
    assert "never reported" not in tinyfin(f"{new} --terminals terminals.csv").output
    tick = "fleet campaign tick lake north --registry registry"
    assert "a draft waits for `tinyfin fleet campaign approve`" in tinyfin(tick).output
    said = tinyfin("fleet campaign approve lake north --key validation.key").output
    assert "approved by validation; persons wanted: 2" in said
    tinyfin("fleet campaign approve lake north --key validation.key", code=3)
    assert tinyfin_json("fleet campaign status lake north")["state"] == "draft"
    tinyfin("fleet campaign approve lake north --key risk.key")
    assert tinyfin_json(tick)["offers"] == 10
    pack = "runs/second/release/model.tfpack"
    tinyfin(f"registry halt {pack} --why complaints --key risk.key")
    desk.days(1)
    assert "registry has the pack as halted" in tinyfin(tick, code=4).output
    tinyfin("fleet campaign approve lake north --key builder.key", code=3)


def test_what_was_changed_after_it_was_approved_goes_nowhere(desk: Desk) -> None:
    new = "fleet campaign new lake north --pack runs/second/release --parent parent.tfpack"
    assert (
        "a number above 0"
        in tinyfin(f"{new} --terminals terminals.csv --alerts-ratio nan", code=3).output
    )
    tinyfin(f"{new} --terminals terminals.csv")
    tinyfin("fleet campaign approve lake north --key validation.key")
    tinyfin("fleet campaign approve lake north --key risk.key")
    tick = "fleet campaign tick lake north --registry registry"
    tinyfin(tick)
    share = """UPDATE campaign SET definition = replace(definition, '"failure_share":0.01',"""
    enough = "are not those that enough persons"
    one, other = bench.terminal(3).hex(), bench.terminal(99).hex()
    for change, why in (
        (f"{share} '\"failure_share\":0.5')", enough),
        (f"{share} '')", "it was changed"),
        ("UPDATE campaign SET members = replace(members, 'hotel', 'elsewhere')", enough),
        (f"UPDATE campaign SET members = replace(members, '{one}', '{other}')", enough),
        (
            "INSERT INTO tick SELECT 'north', 9, 'pass', hour, 'risk', '', result, '', '' "
            "FROM tick WHERE number = 0",
            enough,
        ),
    ):
        whole = Path("lake/campaigns.sqlite").read_bytes()
        with contextlib.closing(sqlite3.connect("lake/campaigns.sqlite")) as base, base:
            base.execute(change)
        desk.hour += 1
        for line in (tick, "fleet campaign offers lake north --registry registry"):
            assert why in tinyfin(line, code=4).output
        Path("lake/campaigns.sqlite").write_bytes(whole)
    assert tinyfin_json(tick)["state"] == "running"


def test_when_the_key_of_an_approver_is_revoked_the_campaign_is_halted(desk: Desk) -> None:
    """The approval was perhaps not theirs: nothing is offered from then on, and terminals go back.
    The control: a key that has approved nothing."""
    new = "fleet campaign new lake north --pack runs/second/release --parent parent.tfpack"
    tinyfin(f"{new} --terminals terminals.csv")
    for key in ("validation", "risk"):
        tinyfin(f"fleet campaign approve lake north --key {key}.key")
    tick, offers = (
        f"fleet campaign {v} lake north --registry registry" for v in ("tick", "offers")
    )
    assert tinyfin_json(tick)["offers"] == 10
    for name, signers in (("machine", ["risk"]), ("validation", ["risk", "validation"])):
        for signer in signers:
            tinyfin(f"registry revoke {name}.key.pub --why stolen --key {signer}.key")
        desk.days(1)
        if name == "machine":
            assert len(tinyfin_json(offers)["offers"]) == 10
            assert tinyfin_json(tick)["state"] == "running"
    assert "was revoked; nothing is offered" in tinyfin(offers, code=4).output
    assert "the key of a person who has signed for it was revoked" in tinyfin(tick, code=4).output
    assert {row["action"] for row in tinyfin_json(offers)["offers"]} == {"abort"}


def test_only_who_may_sign_it_lets_a_campaign_go_on(desk: Desk) -> None:
    """A name is not enough, nor is the key of a machine."""
    new = "fleet campaign new lake north --pack runs/second/release --parent parent.tfpack"
    tinyfin(f"{new} --terminals terminals.csv")
    for key in ("validation", "risk"):
        tinyfin(f"fleet campaign approve lake north --key {key}.key")
    tinyfin("fleet campaign tick lake north --registry registry")
    tinyfin("fleet campaign pause lake north --why holiday --who me")
    tinyfin("keygen stranger.key --kind person")
    for verb in ("resume", "pass"):
        line = f"fleet campaign {verb} lake north --why over"
        tinyfin(f"{line} --who me", code=2)
        for key in ("machine", "stranger"):
            tinyfin(f"{line} --key {key}.key", code=3)
        assert tinyfin_json("fleet campaign status lake north")["state"] == "paused"
    passed = tinyfin_json("fleet campaign pass lake north --why seen --key risk.key")
    assert passed["wave"] == "50 %", "of 40 terminals"
    desk.days(1)
    assert tinyfin_json("fleet campaign tick lake north --registry registry")["state"] == "running"
    event = tinyfin_json("registry log")["events"][-1]
    assert (event["kind"], event["actor"]["name"]) == ("campaign.passed", "risk")
    assert (event["detail"]["entry"], event["detail"]["why"]) == (3, "seen")


def test_erasing_a_terminal_reaches_its_campaigns(desk: Desk) -> None:
    new = "fleet campaign new lake north --pack runs/second/release --parent parent.tfpack"
    tinyfin(f"{new} --terminals terminals.csv")
    for key in ("validation", "risk"):
        tinyfin(f"fleet campaign approve lake north --key {key}.key")
    tick = "fleet campaign tick lake north --registry registry"
    tinyfin(tick)
    gone = tinyfin_json("fleet campaign offers lake north")["offers"][0]["terminal"]
    said = tinyfin_json(f"fleet erase lake --terminal {gone}")
    assert (said["campaigns"], said["rows"] > 0) == (1, True)
    assert gone.encode() not in Path("lake/campaigns.sqlite").read_bytes()
    desk.days(1)
    assert tinyfin_json(tick)["state"] == "running", "what was approved is there"
    left = {row["terminal"] for row in tinyfin_json("fleet campaign offers lake north")["offers"]}
    assert gone not in left
    assert len(left) >= 9


def test_a_pack_that_is_retired_ends_a_campaign_that_is_done(desk: Desk) -> None:
    """Its terminals keep it: another one has taken its place."""
    new = "fleet campaign new lake north --pack runs/second/release --parent parent.tfpack"
    tinyfin(f"{new} --terminals terminals.csv")
    for key in ("validation", "risk"):
        tinyfin(f"fleet campaign approve lake north --key {key}.key")
    store = Store("sqlite:///lake/campaigns.sqlite")
    with store.changing("north") as found:
        progress = replace(found.rollout.progress, state=State.DONE, wave=5)
        found.rollout.restore(progress, found.rollout.stage, found.rollout.offered_h)
        found.do("end", 0, "", "")  # an entry, so that it is written
        found.rollout.progress = progress
    tinyfin("registry retire runs/second/release/model.tfpack --why old --key risk.key")
    said = tinyfin_json("fleet campaign tick lake north --registry registry")
    assert (said["state"], said["why"]) == ("ended", "the registry has the pack as retired")
    assert tinyfin_json("fleet campaign offers lake north")["offers"] == []


@pytest.mark.parametrize("with_registry", [True, False])
def test_an_expected_precision_far_below_the_promised_one_halts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, with_registry: bool
) -> None:
    """Where the pack is known: the registry keeps it."""
    asked: list[tuple[bytes, int]] = []

    def precision(lake: Lake, pack: Pack, day: int) -> tuple[float, float, float]:
        asked.append((pack.pack_id, day))
        return 0.1, 0.2, 0.9

    monkeypatch.setattr("tinyfin.fleet.estimates.precision", precision)
    new = "fleet campaign new lake north --pack runs/second/release --parent parent.tfpack"
    tinyfin(f"{new} --terminals terminals.csv")
    for person in ("validation", "risk"):
        tinyfin(f"fleet campaign approve lake north --key {person}.key")
    tick = "fleet campaign tick lake north" + " --registry registry" * with_registry
    said = tinyfin(tick, code=4 if with_registry else 0).output
    assert ("precision: 0.1 to 0.2, wanted at least 0.72" in said) == with_registry
    assert asked == ([(reports.NEW, desk.hour // 24)] if with_registry else [])


def test_the_policy_of_the_page_is_the_usual_one() -> None:
    text = PAGE.read_text("utf-8")
    for title, model in (("gates", Gates()), ("limits", Limits())):
        [table] = re.findall(rf"\| key of `\[{title}\]`.*?\n(?=\n)", text, re.DOTALL)
        named = re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines()))
        assert set(named) - {title} == set(type(model).model_fields)
        for row in table.splitlines()[2:]:
            names = re.findall(r"`(\w+)`", row.split("|")[1])
            values = [value.strip() for value in row.split("|")[2].split(",")]
            for name, value in zip(names, values, strict=False):
                if re.fullmatch(r"[\d.]+", value):
                    assert float(value) == getattr(model, name), name
    assert Policy().limits.revert


def test_a_terminal_that_never_reported_is_named(desk: Desk) -> None:
    typo = bench.terminal(TERMINALS).hex()
    with Path("terminals.csv").open("a") as file:
        file.write(f"{typo},shop\n")
    new = "fleet campaign new lake north --pack runs/second/release --parent parent.tfpack"
    said = tinyfin(f"{new} --terminals terminals.csv").output
    assert f"1 of {TERMINALS + 1} terminals have never reported, such as {typo}" in said


REFUSED = [
    ("--terminals lines.csv", "line 3: a value goes over lines"),
    ("--parent runs/second/release", "is the pack itself"),
    (f"--parent {REFERENCE.parents[1]}/payment_host", "was released to replace another pack"),
    (f"--pack {REFERENCE}", "has no bounds of a probation"),
    ("--terminals no-column.csv", "line 1: name the column terminal"),
    ("--terminals twice.csv", "line 3: terminal a1b2c3d4e5f60000 is there twice"),
    ("--terminals short.csv", "line 2: has not as many values"),
    ("--terminals wrong.csv", "line 2: terminal id 'x'"),
    ("--policy bad.toml", "the last wave must have share = 1"),
]


def test_what_no_campaign_is_made_of(desk: Desk) -> None:
    one = bench.terminal(0).hex()
    for name, text in {
        "no-column": "id\n1\n",
        "twice": f"terminal\n{one}\n{one}\n",
        "lines": f'terminal,class\n{one},"x\ny"\n',
        "short": f"terminal,class\n{one}\n",
        "wrong": "terminal\nx\n",
    }.items():
        Path(f"{name}.csv").write_text(text)
    Path("bad.toml").write_text('[[waves]]\nname = "a"\nshare = 0.5\n')
    words = {
        "--pack": "runs/second/release",
        "--parent": "parent.tfpack",
        "--terminals": "terminals.csv",
    }
    for change, message in REFUSED:
        option, value = change.split()
        line = " ".join(f"{k} {v}" for k, v in {**words, option: value}.items())
        done = tinyfin(f"fleet campaign new lake north {line} --public-key release.key.pub", code=3)
        assert message in done.output
