# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the network's tests."""

from __future__ import annotations

import pytest

from tests.network.native import Native


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Native:
    return Native(tmp_path_factory.mktemp("net"))
