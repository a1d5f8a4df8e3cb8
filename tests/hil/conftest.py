# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the rig's tests: one terminal program and its pack."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire import rig
from tinyfin.hil.links.host_process import build_host_terminal


@pytest.fixture(scope="session")
def program() -> Path:
    return build_host_terminal(rig.make_pack(), cflags=("-O1",))


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "model.tfpack"
    path.write_bytes(rig.make_pack())
    return path


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL where nobody listens, and that no other run of the tests leases."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"socket://127.0.0.1:{bound.getsockname()[1]}"
