# SPDX-License-Identifier: Apache-2.0
"""A damaged plan is refused, or runs inside the memory it was given."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.graph import Graph
from tests.support.native import Network, network_program, run
from tests.support.packs import patched
from tinyfin.pack.plan import compile_plan
from tinyfin.tflite.model import load

E_ALIGN, E_PLAN, E_KERNEL, E_LAYOUT = -2, -18, -19, -20


@pytest.fixture(scope="module")
def plan() -> bytes:
    """Grouped rows and rows left over, padding, per-channel, a table, accumulators."""
    rng = np.random.default_rng(1)
    graph = Graph()
    x = graph.tensor("x", [1, 10], scales=[0.1], zero_points=[3])
    w = rng.integers(-127, 128, (7, 10), dtype=np.int8)
    scales = [0.001 * (i + 1) for i in range(7)]
    x = graph.dense(x, w, rng.integers(-99, 99, 7), scales, 0.1, -128, "RELU")
    w = rng.integers(-127, 128, (5, 7), dtype=np.int8)
    x = graph.dense(x, w, rng.integers(-99, 99, 5), [0.003], 0.1, 5)
    graph.unary("LOGISTIC", x, 1 / 256, -128)
    return compile_plan(load(graph.build()), accumulators=True)


def fuzz(
    plan: bytes, folder: Path, *defines: str, rounds: int = 100_000
) -> subprocess.CompletedProcess[str]:
    path = folder / "plan.bin"
    path.write_bytes(plan)
    return run(network_program("plan_fuzz.c", *defines), path, rounds, 7)


def stays_in_its_memory(plan: bytes, folder: Path, rounds: int = 100_000) -> None:
    """Mutated plans are refused, or run, both often; without a bounds check that is noticed."""
    done = fuzz(plan, folder, rounds=rounds)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = re.fullmatch(r"refused (\d+) ran (\d+)\n", done.stdout)
    assert counts is not None
    assert min(int(counts[1]), int(counts[2])) > rounds // 10
    assert fuzz(plan, folder, "TFIN_TEST_NO_BOUNDS", rounds=rounds).returncode != 0


def test_mutated_plans_stay_inside_their_memory(plan: bytes, tmp_path: Path) -> None:
    stays_in_its_memory(plan, tmp_path)


def test_every_truncation_is_refused(net: Network, plan: bytes) -> None:
    assert net.check(plan) == 0
    for size in range(0, len(plan), 4):
        assert net.check(plan[:size]) == E_PLAN


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, 0, E_PLAN),  # magic
        (4, 2, E_PLAN),  # format 2
        (4, 1 | 9 << 16, E_LAYOUT),
        (12, 3 | 1 << 20, E_KERNEL),  # an unknown kernel
        (12, 1, E_PLAN),  # a table that the mask does not name
        (16, 0, E_PLAN),  # no arena
        (20, 0, E_PLAN),  # no nodes
        (24, 1 << 31, E_PLAN),  # input outside
        (64, 77, E_PLAN),  # opcode
    ],
)
def test_errors_have_names(net: Network, plan: bytes, offset: int, value: int, error: int) -> None:
    assert net.check(patched(plan, offset, "I", value)) == error


def test_misaligned_and_unlinked(net: Network, plan: bytes) -> None:
    assert net.check(plan, misalign=4) == E_ALIGN
    assert net.check(plan, kernels=1) == E_KERNEL
