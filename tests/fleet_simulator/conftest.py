# SPDX-License-Identifier: Apache-2.0
"""A small bank that is built once."""

from __future__ import annotations

import pytest

from tinyfin.fleet_simulator.bank import Bank, Plan, build

PLAN = Plan(
    terminals=80, town=40, days=21, good=1, family="boosted", trained=(40, 56), released=(120, 28)
)


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return build(tmp_path_factory.mktemp("banks") / "small", PLAN)
