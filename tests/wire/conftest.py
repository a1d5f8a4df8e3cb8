# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the wire's tests: a fresh terminal for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import sample
from tinyfin.wire.client import Client


@pytest.fixture
def client(program: Path) -> Iterator[Client]:
    with sample.terminal(program, deadline_s=10.0) as client:
        client.connect()
        yield client
