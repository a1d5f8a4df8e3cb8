# SPDX-License-Identifier: Apache-2.0
"""A damaged plan is refused, or runs inside the memory it was given."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.engine.network_native import LIBRARY, ROOT, SOURCES, Native, compiler
from tests.tflite.build_tflite import Graph
from tinyfin.pack.plan import compile_plan
from tinyfin.tflite.model import load

E_ALIGN, E_PLAN, E_KERNEL, E_LAYOUT = -2, -18, -19, -20
FUZZ = ROOT / "firmware" / "test" / "plan_fuzz.c"


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


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("fuzz") / "plan_fuzz"
    _build(binary)
    return binary


def _build(binary: Path, *defines: str) -> None:
    command = [compiler(), "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += [f"-D{d}" for d in defines]
    command += [f"-I{LIBRARY / 'include'}", f"-I{LIBRARY / 'src'}", str(FUZZ)]
    command += map(str, SOURCES)
    subprocess.run([*command, "-o", str(binary)], check=True, timeout=120)


def _fuzz(binary: Path, plan: bytes, folder: Path, rounds: int) -> subprocess.CompletedProcess[str]:
    path = folder / "plan.bin"
    path.write_bytes(plan)
    return subprocess.run(
        [str(binary), str(path), str(rounds), "7"], capture_output=True, text=True, timeout=120
    )


def test_mutated_plans_stay_inside_their_memory(
    sanitized: Path, plan: bytes, tmp_path: Path
) -> None:
    done = _fuzz(sanitized, plan, tmp_path, 100_000)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = re.fullmatch(r"refused (\d+) ran (\d+)\n", done.stdout)
    assert counts is not None
    refused, ran = int(counts[1]), int(counts[2])
    assert refused > 10_000
    assert ran > 10_000


def test_a_missing_bounds_check_is_caught(plan: bytes, tmp_path: Path) -> None:
    """Negative control: the sanitizers notice a check that lets every range through."""
    binary = tmp_path / "plan_fuzz"
    _build(binary, "TFIN_TEST_NO_BOUNDS")
    assert _fuzz(binary, plan, tmp_path, 100_000).returncode != 0


def test_every_truncation_is_refused(net: Native, plan: bytes) -> None:
    assert net.check(plan) == 0
    for size in range(0, len(plan), 4):
        assert net.check(plan[:size]) == E_PLAN


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, 0, E_PLAN),  # magic
        (4, 2, E_PLAN),  # format 2
        (4, 1 | 9 << 16, E_LAYOUT),
        (12, 3 | 1 << 20, E_KERNEL),  # a kernel that nobody knows
        (12, 1, E_PLAN),  # a table that the mask does not own up to
        (16, 0, E_PLAN),  # no arena
        (20, 0, E_PLAN),  # no nodes
        (24, 1 << 31, E_PLAN),  # input outside
        (64, 77, E_PLAN),  # opcode
    ],
)
def test_errors_have_names(net: Native, plan: bytes, offset: int, value: int, error: int) -> None:
    wrong = bytearray(plan)
    struct.pack_into("<I", wrong, offset, value)
    assert net.check(bytes(wrong)) == error


def test_misaligned_and_unlinked(net: Native, plan: bytes) -> None:
    assert net.check(plan, misalign=4) == E_ALIGN
    assert net.check(plan, kernels=1) == E_KERNEL
