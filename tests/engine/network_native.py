# SPDX-License-Identifier: Apache-2.0
"""The network's C, compiled for the host and called through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "firmware" / "lib" / "tinyfin"
SOURCES = sorted(p for part in ("network", "kernels") for p in (LIBRARY / "src" / part).glob("*.c"))
KERNELS_ALL = 1023


def compiler() -> str:
    """The host's C compiler, or a skipped test."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    pytest.skip("no C compiler on this host: install gcc or clang")


def aligned(size: int, fill: int = 0) -> NDArray[np.uint8]:
    """A buffer whose address is a multiple of 16."""
    raw = np.full(size + 16, fill, np.uint8)
    start = -raw.ctypes.data % 16
    return raw[start : start + size]


class Native:
    """tfin_net_* of one build."""

    def __init__(self, folder: Path, *defines: str) -> None:
        self.path = folder / ("net" + "".join(defines) + ".so")
        if not self.path.exists():
            command = [
                compiler(),
                "-std=c99",
                "-O2",
                "-shared",
                "-fPIC",
                "-Wall",
                "-Wextra",
                "-Wconversion",
                "-Wshadow",
                "-Werror",
                f"-I{LIBRARY / 'include'}",
                *[f"-D{d}" for d in defines],
                *map(str, SOURCES),
                "-o",
                str(self.path),
            ]
            subprocess.run(command, check=True, timeout=60)
        self.lib = ctypes.CDLL(str(self.path))

    def check(self, plan: bytes, kernels: int = KERNELS_ALL, misalign: int = 0) -> int:
        buffer = aligned(len(plan) + misalign)
        buffer[misalign:] = np.frombuffer(plan, np.uint8)
        return int(
            self.lib.tfin_net_check(
                ctypes.c_void_p(buffer.ctypes.data + misalign), len(plan), kernels
            )
        )

    def run(
        self, plan: bytes, inputs: NDArray[np.int8], *, accumulators: bool = False
    ) -> NDArray[np.int8] | NDArray[np.int32]:
        """Outputs int8[rows, N], or the accumulators int32[rows, N]; the input must stay intact."""
        code = aligned(len(plan))
        code[:] = np.frombuffer(plan, np.uint8)
        assert (
            self.lib.tfin_net_check(ctypes.c_void_p(code.ctypes.data), len(plan), KERNELS_ALL) == 0
        )
        words = code[:64].view("<u4")
        arena = aligned(int(words[4]), 0xA5)
        at_in, n_in, at_out, n_out, at_acc, n_acc = (int(w) for w in words[6:12])
        assert inputs.shape[1] == n_in
        rows = []
        for x in inputs:
            arena[at_in : at_in + n_in] = x.view(np.uint8)
            self.lib.tfin_net_run(
                ctypes.c_void_p(code.ctypes.data), ctypes.c_void_p(arena.ctypes.data)
            )
            assert np.array_equal(arena[at_in : at_in + n_in], x.view(np.uint8)), "input changed"
            if accumulators:
                rows.append(arena[at_acc : at_acc + 4 * n_acc].view("<i4").copy())
            else:
                rows.append(arena[at_out : at_out + n_out].view(np.int8).copy())
        return np.array(rows)


def tflm(model: bytes, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
    """What TFLM's own interpreter answers: int8[rows, N]."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=1 << 20)
    shape = interpreter.get_input_details(0)["shape"]
    rows = []
    for x in inputs:
        interpreter.set_input(x.reshape(shape), 0)
        interpreter.invoke()
        rows.append(np.array(interpreter.get_output(0), np.int8).reshape(-1))
    return np.array(rows)
