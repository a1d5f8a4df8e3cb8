# SPDX-License-Identifier: Apache-2.0
"""Memory that was freed, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["give_back"]


def give_back() -> None:
    """Return to the system what allocators keep of freed memory, after many rows went through."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError, OSError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
