# SPDX-License-Identifier: Apache-2.0
"""Tests of the fleet wait for no disk; the one that has to does not ask this process."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
