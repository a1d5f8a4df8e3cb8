# SPDX-License-Identifier: Apache-2.0
"""Where things are: registers, operator state, the pending entry, the constant pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinyfin.errors import ConfigError
from tinyfin.features.graph import Graph
from tinyfin.features.ranges import width_for

__all__ = [
    "MAX_KEPT",
    "MAX_REGISTERS",
    "PENDING_HEAD_BYTES",
    "Kept",
    "allot_registers",
    "keep_list",
    "lay_out_pool",
    "lay_out_state",
]

MAX_REGISTERS = 200
MAX_KEPT = 64
PENDING_HEAD_BYTES = 24
"""id, sequence, t and token come before the kept registers."""


@dataclass(frozen=True)
class Kept:
    """A register that waits for the outcome: its node, bytes and place in the pending entry."""

    node: int
    width: int
    offset: int
    ram_only: bool


def keep_list(graph: Graph) -> tuple[tuple[Kept, ...], int]:
    """The registers that a commit needs, widest first, and the pending entry's size in bytes."""
    wanted: set[int] = set()
    for node in graph.nodes:
        needed = node.commit_inputs() or (node.inputs if node.late else ())
        wanted |= {i for i in needed if not graph.nodes[i].late}
    if len(wanted) > MAX_KEPT:
        raise ConfigError(
            f"the features keep {len(wanted)} values until the outcome; a program keeps at most "
            f"{MAX_KEPT}; use fewer features with state"
        )
    widths = {i: width_for(graph.nodes[i].interval) for i in wanted}
    kept = []
    offset = PENDING_HEAD_BYTES
    for i in sorted(wanted, key=lambda i: (-widths[i], i)):
        kept.append(Kept(i, widths[i], offset, graph.nodes[i].ram_only))
        offset += widths[i]
    return tuple(kept), -(-offset // 8) * 8


def lay_out_state(graph: Graph, key: int) -> tuple[Mapping[int, int], int]:
    """State offset per stateful node of a key, and the block's size in bytes (a multiple of 8).

    What needs an alignment of 8 comes first; gaps of 4 are filled with states of 4.
    """
    nodes = [(i, n) for i, n in enumerate(graph.nodes) if n.operator.stateful and n.key == key]
    sizes = {i: n.operator.state_bytes(n.parameters[2], n.parameters[3]) for i, n in nodes}
    wide = [i for i, n in nodes if n.operator.state_align(n.parameters[3]) == 8]
    offsets: dict[int, int] = {}
    gaps: list[int] = []
    end = 0
    for i in wide:
        if end % 8:
            gaps.append(end)
            end += 4
        offsets[i] = end
        end += sizes[i]
    for i, _ in nodes:
        if i in offsets:
            continue
        if sizes[i] == 0:
            offsets[i] = 0
        elif sizes[i] == 4 and gaps:
            offsets[i] = gaps.pop(0)
        else:
            offsets[i] = end
            end += sizes[i]
    return offsets, -(-end // 8) * 8


def lay_out_pool(graph: Graph) -> tuple[Mapping[int, int], bytes]:
    """Offset in the pool per node with constants, and the pool."""
    pool = bytearray()
    places: dict[bytes, int] = {}
    offsets: dict[int, int] = {}
    nodes = [(i, n) for i, n in enumerate(graph.nodes) if n.operator.pool]
    for i, node in sorted(nodes, key=lambda item: (-item[1].operator.pool, item[0])):
        if node.pool not in places:
            places[node.pool] = len(pool)
            pool += node.pool
        offsets[i] = places[node.pool]
    return offsets, bytes(pool)


def allot_registers(graph: Graph, order: Sequence[int], pinned: set[int]) -> Mapping[int, int]:
    """Register per node; dead ones are used again, because registers cost memory.

    ``order`` is the order of execution, ``pinned`` the nodes whose register must survive (kept ones
    and features).
    """
    last_use = {node: place for place, node in enumerate(order)}
    for place, node in enumerate(order):
        for i in graph.nodes[node].inputs:
            last_use[i] = place
    registers: dict[int, int] = {}
    free: list[int] = []
    used = 0
    ends: dict[int, list[int]] = {}
    for node in order:
        if node not in pinned:
            ends.setdefault(last_use[node], []).append(node)
    for place, node in enumerate(order):
        if free:
            registers[node] = free.pop()
        else:
            registers[node] = used
            used += 1
        free.extend(registers[dead] for dead in ends.get(place, ()))
        free.sort(reverse=True)
    if used > MAX_REGISTERS:
        raise ConfigError(
            f"the features need {used} registers; a program has {MAX_REGISTERS}; use fewer features"
        )
    return registers
