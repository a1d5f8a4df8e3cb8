# SPDX-License-Identifier: Apache-2.0
"""Packs of the safety tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.corpus import golden_mirror
from tests.support import packs


@pytest.fixture(scope="session")
def small() -> bytes:
    """Three features, a network, labels; no cards."""
    return packs.build(packs.small())


@pytest.fixture(scope="session")
def rich() -> bytes:
    """Every operator, both keys, every width."""
    return packs.build(packs.rich())


@pytest.fixture(scope="session")
def small_file(small: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packs") / "small"
    path.write_bytes(small)
    return path


@pytest.fixture(scope="session")
def rich_file(rich: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packs") / "rich"
    path.write_bytes(rich)
    return path


@pytest.fixture(scope="session")
def mirror_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reconstruction read-out and golden vectors."""
    path = tmp_path_factory.mktemp("packs") / "mirror"
    path.write_bytes(golden_mirror())
    return path
