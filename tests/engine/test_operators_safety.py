# SPDX-License-Identifier: Apache-2.0
"""Damaged plans of every opcode are refused, or run inside the memory they were given."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.engine.test_plan_safety import E_KERNEL, E_PLAN, stays_in_its_memory
from tests.support.graph import Graph
from tests.support.native import KERNELS_ALL, Network
from tests.support.packs import patched
from tinyfin.formats import kernel_names
from tinyfin.pack.plan import compile_plan, describe
from tinyfin.tflite.model import load

#: where the last bytes of each record are that the check must not pass over: opcode, offset, value
WRONG = (
    (3, 20, "HH", (4, 0)),  # SOFTMAX: rows, depth
    (3, 24, "I", (257,)),  # more entries than differences
    (3, 24, "I", (0,)),
    (3, 16, "I", (1 << 20,)),  # its table
    (4, 1, "B", (8,)),  # ADD: an unknown flag
    (4, 16, "I", (1 << 20,)),  # second operand
    (4, 20, "H", (0,)),
    (4, 28, "i", (-1,)),  # a negative multiplier
    (4, 32, "i", (31,)),  # shifts
    (4, 40, "i", (-32,)),
    (4, 48, "i", (1000,)),
    (5, 1, "B", (2,)),  # MUL has no sign
    (5, 32, "i", (-99,)),
    (6, 40, "i", (31,)),  # SQUARED_DIFFERENCE
    (6, 20, "H", (65535,)),
    (7, 20, "H", (9,)),  # SUM: count
    (7, 1, "B", (2,)),
    (7, 28, "i", (31,)),
    (8, 16, "H", (2,)),  # COPY: rows, length, stride, at
    (8, 18, "H", (99,)),
    (8, 22, "H", (60000,)),
)


@pytest.fixture(scope="module")
def plan() -> bytes:
    """A node of every opcode; constants, broadcasting, a copy of several rows."""
    graph = Graph()
    x = graph.tensor("x", [1, 3, 4], scales=[0.05], zero_points=[3])
    c = graph.constant(np.arange(4, dtype=np.int8), 0.1, -2)
    a = graph.operator("SUB", [c, x], [1, 3, 4], 0.1, 5)
    m = graph.operator("MUL", [a, x], [1, 3, 4], 0.02, 1)
    d = graph.operator("SQUARED_DIFFERENCE", [m, x], [1, 3, 4], 0.1, 3)
    s = graph.operator("SUM", [d, graph.axes([2])], [1, 3, 1], 0.1, 3, keep_dims=True)
    j = graph.operator("CONCATENATION", [d, s], [1, 3, 5], 0.1, 3, axis=-1)
    p = graph.operator("SOFTMAX", [j], [1, 3, 5], 1 / 256, -128, beta=1.0)
    w = np.arange(60, dtype=np.int8).reshape(4, 15)
    y = graph.dense(graph.reshape(p, [1, 15]), w, None, [0.01], 0.1, 0)
    graph.unary("TANH", y, 1 / 128, 0)
    return compile_plan(load(graph.build()))


def nodes(plan: bytes) -> list[tuple[int, int]]:
    found, position = [], 64
    for _ in range(int.from_bytes(plan[20:24], "little")):
        opcode, _, size = struct.unpack_from("<BBH", plan, position)
        found.append((opcode, position))
        position += size
    return found


def test_the_plan_has_every_opcode(net: Network, plan: bytes) -> None:
    assert {opcode for opcode, _ in nodes(plan)} == set(range(1, 9))
    assert describe(plan)["kernels"] == 255
    assert net.check(plan) == 0


def test_mutated_plans_stay_inside_their_memory(plan: bytes, tmp_path: Path) -> None:
    stays_in_its_memory(plan, tmp_path)


@pytest.mark.parametrize(("opcode", "offset", "kind", "values"), WRONG)
def test_a_wrong_field_is_refused(
    net: Network, plan: bytes, opcode: int, offset: int, kind: str, values: tuple[int, ...]
) -> None:
    at = next(position for number, position in nodes(plan) if number == opcode)
    assert net.check(patched(plan, at + offset, kind, *values)) == E_PLAN


def test_records_cut_short_are_refused(net: Network, plan: bytes) -> None:
    for _, at in nodes(plan):
        short = patched(plan, at + 2, "H", 20 if plan[at] != 2 else 24)
        assert net.check(short) == E_PLAN


def test_kernels_that_are_not_linked(net: Network, plan: bytes) -> None:
    """A build of the `fc` profile refuses the plan, whatever the caller allows."""
    assert net.check(plan, kernels=KERNELS_ALL & ~64) == E_KERNEL
    small = Network("TFIN_KERNELS=3u")
    assert small.check(plan) == E_KERNEL
    hidden = patched(plan, 12, "I", 3)  # the header keeps silent about them
    assert small.check(hidden) == E_PLAN
    assert kernel_names(3) == ["FULLY_CONNECTED", "TABLE"]
    assert kernel_names(1 << 31 | 64) == ["REDUCE", "kernel 2^31"]
