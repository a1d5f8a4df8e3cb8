# SPDX-License-Identifier: Apache-2.0
"""Refuses transactions that do not fit in memory before they are read: 16 MB of Parquet may hold
150 million rows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tinyfin.errors import InputError

__all__ = ["require_memory"]

_ROW_BYTES = 300
"""What a row takes while it is read and replayed, at least."""


def require_memory(paths: Iterable[str | Path]) -> None:
    """InputError when the Parquet files among ``paths`` have more rows than this machine's memory
    holds. What cannot be read at all is left to the reader."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                rows += pq.read_metadata(file).num_rows
        except (OSError, pa.ArrowException):
            continue
        if rows * _ROW_BYTES > _memory_bytes():
            raise InputError(
                f"{path}: {rows:,} rows need about {rows * _ROW_BYTES / 1e9:,.1f} GB, and this "
                f"machine has {_memory_bytes() / 1e9:,.1f} GB; give a part of them"
            )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
