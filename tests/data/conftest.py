# SPDX-License-Identifier: Apache-2.0
"""Small files for the readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings

from tinyfin import simulator
from tinyfin.config import Simulate

# a shared machine may stall for longer than hypothesis allows an example
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    """Write lines as a CSV file and give its path."""

    def write(*lines: str, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write columns as a Parquet file and give its path."""

    def write(columns: dict[str, Sequence[Any] | pa.Array], name: str = "a.parquet") -> Path:
        path = tmp_path / name
        simulator.write(pa.table(columns), path)
        return path

    return write


@pytest.fixture(scope="session")
def town() -> pa.Table:
    """A small simulated town that holds every scenario."""
    return simulator.simulate(Simulate(terminals=16, days=12, seed=7))
