# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the wire's tests: one terminal program, a fresh process of it per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire import rig
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.wire.client import Client
from tinyfin.wire.links import ProcessLink


@pytest.fixture(scope="session")
def program() -> Path:
    return build_host_terminal(rig.make_pack(), cflags=("-O1",))


@pytest.fixture
def client(program: Path) -> Iterator[Client]:
    client = Client(ProcessLink([str(program)]), deadline_s=10.0)
    client.connect()
    yield client
    client.close()
