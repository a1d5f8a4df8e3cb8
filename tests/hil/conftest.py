# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the rig's tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import sample


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "model.tfpack"
    path.write_bytes(sample.make_pack())
    return path


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A URL where no program listens, and that no other run of the tests leases."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"socket://127.0.0.1:{bound.getsockname()[1]}"
