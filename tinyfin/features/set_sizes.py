# SPDX-License-Identifier: Apache-2.0
"""What the catalogue's sets need of a terminal's memory."""

from __future__ import annotations

from tinyfin.features.catalogue import SETS
from tinyfin.features.compiler import Program, compile_program
from tinyfin.schema import PAYMENT_HOST

__all__ = ["set_sizes", "sizes_of"]


def set_sizes() -> dict[str, dict[str, int]]:
    """By set: :func:`sizes_of` with the default capacities, of payments."""
    return {name: sizes_of(compile_program(name, PAYMENT_HOST)) for name in SETS}


def sizes_of(program: Program) -> dict[str, int]:
    """Number of features, and bytes: the program, the state and its parts, and the memory that the
    engine asks for when there is no network."""
    return {
        "features": len(program.feature_names),
        "program_bytes": len(program.payload),
        "state_bytes": program.state_bytes,
        "memory_bytes": program.memory_bytes(),
        "terminal_state_bytes": program.terminal_state_bytes,
        "label_ring_bytes": program.label_ring_bytes,
        "pending_table_bytes": program.pending_bytes,
        "card_table_bytes": program.card_table_bytes,
    }
