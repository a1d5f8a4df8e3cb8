# SPDX-License-Identifier: Apache-2.0
"""A twin that was compiled from other sources than those that lie here is refused."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from tinyfin import paths
from tinyfin.errors import ToolError
from tinyfin.twin import _native, sources

ENGINE = "firmware/lib/tinyfin/src/engine.c"
OPERATORS = "firmware/lib/tinyfin/src/features/operators.c"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Two sources, and the list of them."""
    for name in (ENGINE, "tinyfin/twin/native.cpp"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    write_list(tmp_path)
    return tmp_path


def write_list(root: Path) -> None:
    files = list(root.rglob("*.c*"))
    (root / "sources.sha256").write_text(
        "".join(
            f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(root)}\n" for p in files
        )
    )
    os.utime(root / "sources.sha256", (time.time() - 60,) * 2)


def test_this_twin_is_of_these_sources() -> None:
    listed = Path(_native.__file__).with_name("sources.sha256")
    assert listed.is_file()
    if paths.is_checkout():
        names = {line.split("  ")[1] for line in listed.read_text().splitlines()}
        assert {ENGINE, OPERATORS, "tinyfin/twin/lanes.c"} <= names
        assert sources.changed(listed, paths.project_dir()) == []


def test_what_changed_is_named(checkout: Path) -> None:
    def changed() -> list[str]:
        return sources.changed(checkout / "sources.sha256", checkout)

    engine = checkout / ENGINE
    assert changed() == []
    engine.touch()
    assert changed() == [], "written again, but the same"
    engine.write_text("other")
    assert changed() == [ENGINE]
    write_list(checkout)
    assert changed() == []
    (checkout / OPERATORS).parent.mkdir()
    (checkout / OPERATORS).write_text("new")
    engine.unlink()
    assert changed() == [ENGINE, OPERATORS]
    assert sources.changed(checkout / "none", checkout) == []


def test_it_is_refused_by_name(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources.require_unchanged()
    monkeypatch.setattr(sources, "changed", lambda *_: ["a.c", "b.c"])
    told = r"from other sources \(a.c and 1 more\); run: make install"
    with pytest.raises(ToolError, match=told):
        sources.require_unchanged()
    monkeypatch.setattr(paths, "is_checkout", lambda: False)
    sources.require_unchanged()
