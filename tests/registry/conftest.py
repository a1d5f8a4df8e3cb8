# SPDX-License-Identifier: Apache-2.0
"""A clock that is behind all events of these tests, whatever the day."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support.registries import START_S


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    later = SimpleNamespace(time=lambda: START_S + 400 * 86400)
    monkeypatch.setattr("tinyfin.registry.log.time", later)
