# SPDX-License-Identifier: Apache-2.0
"""How much stack the engine takes, by core; for the generated header. Standard library only."""

from __future__ import annotations

__all__ = ["STACK_BYTES"]

STACK_BYTES = {
    "CORTEX_M0": 2000,
    "CORTEX_M3": 1744,
    "CORTEX_M4": 1744,
    "CORTEX_M7": 1744,
    "CORTEX_M33": 1744,
    "CORTEX_M55": 1776,
    "RV32IMC": 1824,
    "LX106": 2016,
}
"""Bytes of ``tfin_open``, by core: the deepest path through GCC's call graph with the board's flags
(:func:`tinyfin.targets.stack_bound.stack_bound`). The signature check decides it, not the pack."""
