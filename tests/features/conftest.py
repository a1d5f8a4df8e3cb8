# SPDX-License-Identifier: Apache-2.0
"""The engine that the oracle is compared with."""

from __future__ import annotations

import pytest

from tests.features.native import Engine


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The C sources, compiled for this session."""
    return Engine(tmp_path_factory.mktemp("features"))
