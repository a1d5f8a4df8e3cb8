# SPDX-License-Identifier: Apache-2.0
"""Tests of the fleet wait for no disk; the one that has to does not ask this process."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from tests.support import drifting
from tests.support import fleet as bench

DAYS, TERMINALS = 56, 30


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A lake of a town whose terminals run ``pack``, which was made of another town."""
    folder = tmp_path_factory.mktemp("calm")
    path = folder / "pack.tfpack"
    pack = drifting.pack_of(drifting.town(2, TERMINALS, 50), path)
    tx = drifting.town(7, TERMINALS, DAYS)
    lake = bench.new_lake(folder / "lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        drifting.fill(lake, path, tx)
    return SimpleNamespace(folder=folder, path=path, pack=pack, tx=tx, lake=lake)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
