# SPDX-License-Identifier: Apache-2.0
"""docs/hil.md lists the keys of rig files and suites as the parsers have them, with their
defaults."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from pydantic import BaseModel

from tinyfin import paths
from tinyfin.hil.rigs import rigfile
from tinyfin.hil.runs import suites
from tinyfin.wire.messages import Capability

SECTIONS: dict[str, type[BaseModel]] = {
    "`[rig]`": rigfile._Head,
    "`[deadlines]`": rigfile.Deadlines,
    "`[targets.NAME]`": rigfile.TargetSpec,
    "`port`": rigfile.Port,
    "`reset`": rigfile.Reset,
    "`reset.line`": rigfile.Line,
    "`reset.power`": rigfile.Power,
    "`meter`": rigfile.MeterSpec,
    "Keys of a suite": suites.Suite,
    "`[data]` of a suite": suites.SuiteData,
    "`[replay]` of a suite": suites.SuiteReplay,
    "`[malformed]` of a suite": suites.Malformed,
    "`[latency]` of a suite": suites.LatencyGate,
    "`[energy]` of a suite": suites.EnergyGate,
    "`[[change]]` of a suite": suites.Change,
}
TABLES = {"Keys of a suite": {"data", "replay", "malformed", "latency", "energy", "change"}}
"""Keys that are sections of their own."""


def page() -> str:
    return (paths.project_dir() / "docs" / "hil.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    _, found, rest = page().partition(f"\n### {title}\n")
    assert found, f"docs/hil.md has no section {title}"
    return re.split(r"\n#{2,3} ", rest)[0]


def documented(text: str) -> dict[str, str]:
    """Key to default, of the first table."""
    table = re.search(r"^\| key \| default \|.*\n(\|.*\n?)+", text, re.M)
    assert table
    found: dict[str, str] = {}
    for row in table[0].splitlines()[2:]:
        key, default, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        assert key not in found
        found[key] = default
    return found


@pytest.mark.parametrize("title", SECTIONS)
def test_keys_and_defaults_are_the_parsers(title: str) -> None:
    model = SECTIONS[title]
    fields = {
        name: field
        for name, field in model.model_fields.items()
        if not field.exclude and name not in TABLES.get(title, ())
    }
    found = documented(section(title))
    assert list(found) == list(fields)
    for name, field in fields.items():
        said = found[name]
        if said == "required":
            assert field.is_required(), name
        elif said == "none":
            assert not field.is_required(), name
            assert field.default in (None, "") or isinstance(field.default, BaseModel), name
        else:
            assert re.fullmatch(r"`.+`", said), f"{name}: {said}"
            assert tomllib.loads(f"x = {said.strip('`')}")["x"] == field.default, name


def test_every_section_of_the_parsers_is_documented() -> None:
    """Whatever table a key may hold has its own section here."""

    def models(of: Any) -> set[type[BaseModel]]:
        inner = {of} if isinstance(of, type) and issubclass(of, BaseModel) else set()
        return inner.union(*(models(one) for one in getattr(of, "__args__", ())))

    todo: set[type[BaseModel]] = {rigfile._File, suites.Suite}
    seen: set[type[BaseModel]] = set()
    while todo:
        one = todo.pop()
        seen.add(one)
        for field in one.model_fields.values():
            todo |= models(field.annotation) - seen
    known = {*SECTIONS.values(), rigfile._File, suites.Simulated}
    assert seen == known
    simulated = section("`[data]` of a suite")
    for name, field in suites.Simulated.model_fields.items():
        assert f"`{name}` ({field.default})" in simulated


def test_every_placeholder_is_documented_where_it_is_known() -> None:
    rows = re.findall(r"^\| `\{(\w+)\}` \| ([^|]+) \|", section("Commands"), re.M)
    said = {name: set(where.strip().split(", ")) for name, where in rows}
    known: dict[str, set[str]] = {}
    for key, names in rigfile.PLACEHOLDERS.items():
        for name in names:
            known.setdefault(name, set()).add(key)
    assert said == known


def test_every_capability_is_documented() -> None:
    (row,) = (row for row in section("Keys of a suite").splitlines() if row.startswith("| needs"))
    named = re.findall(r"`(\w+)`", row.split("|")[3])
    assert named == [str(flag.name).lower() for flag in Capability]
    suites.Suite(needs=named)  # type: ignore[arg-type]  # checked by pydantic


def test_every_kind_of_change_is_documented() -> None:
    text = section("`[[change]]` of a suite").partition("| kind | uses |")[2]
    named = {
        name for row in re.findall(r"^\| ([a-z, -]+) \|", text, re.M) for name in row.split(", ")
    }
    assert named == set(suites.Change.model_fields["kind"].annotation.__args__)  # type: ignore


@pytest.mark.parametrize(
    ("key", "default"), [("hold_s", "`0.2`"), ("hold_s", "none"), ("hold_time_s", "`0.1`")]
)
def test_the_comparison_can_fail(key: str, default: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a wrong default, and a key that there is not."""
    wrong = page().replace("| hold_s | `0.1` |", f"| {key} | {default} |")
    assert wrong != page()
    monkeypatch.setitem(globals(), "page", lambda: wrong)
    with pytest.raises(AssertionError):
        test_keys_and_defaults_are_the_parsers("`reset.line`")
