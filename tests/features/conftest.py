# SPDX-License-Identifier: Apache-2.0
"""The engine that the oracle is compared with."""

from __future__ import annotations

import pytest

from tests.features.native import Engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The C sources, compiled when they changed."""
    return Engine()
