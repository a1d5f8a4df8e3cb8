# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the rig's tests: one terminal program, leases of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire import rig
from tinyfin.hil.lines.host import build_host_terminal


@pytest.fixture(scope="session")
def program() -> Path:
    return build_host_terminal(rig.make_pack(), cflags=("-O1",))


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "model.tfpack"
    path.write_bytes(rig.make_pack())
    return path


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "leases"
    monkeypatch.setenv("TINYFIN_LEASES", str(folder))
    return folder
