# SPDX-License-Identifier: Apache-2.0
"""Tests of one group run in one process: they share folders of the cache, or a machine's clock."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("together")
def test_a_group_is_kept_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist puts the group behind the name, and sends equal ones to one process."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@together")
