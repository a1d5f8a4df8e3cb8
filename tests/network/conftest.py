# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the network's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.network.native import ANCHORS, Native


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Native:
    return Native(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="session")
def anchors() -> Path:
    if not ANCHORS.is_dir():
        pytest.skip(f"{ANCHORS} is not here: the anchor models are not part of the repository")
    return ANCHORS
