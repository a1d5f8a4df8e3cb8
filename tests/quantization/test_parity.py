# SPDX-License-Identifier: Apache-2.0
"""How far the other interpreters are from TFLM is measured, not assumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.anchors import anchor
from tests.support.native import Network
from tinyfin.errors import InputError, ToolError
from tinyfin.pack.plan import compile_plan
from tinyfin.paths import cache_dir
from tinyfin.quantization.parity import parity
from tinyfin.results.parity import Distance
from tinyfin.tflite.model import load


def saved(name: str, folder: Path) -> tuple[Path, NDArray[np.int8]]:
    """A model's file, and rows for it."""
    path = folder / f"{name}.tflite"
    path.write_bytes(anchor(name).tflite)
    return path, anchor(name).x


def test_the_plan_agrees_and_litert_does_not(net: Network, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    path, inputs = saved("ae16_pt", tmp_path)
    plan = compile_plan(load(path))
    report = parity(path, inputs, lambda x: net.run(plan, x))
    assert report.rows == len(inputs)
    assert report.plan == Distance(differing_bytes=0, max_abs_difference=0)
    # LiteRT since 1.3 requantises FULLY_CONNECTED with one rounding
    assert 0 < report.litert_auto.differing_bytes < report.bytes // 10
    assert report.litert_auto.max_abs_difference <= 3
    assert report.litert_reference.differing_bytes > 0


def test_a_wrong_plan_is_seen(tmp_path: Path) -> None:
    path, inputs = saved("mlp32_pt", tmp_path)
    report = parity(path, inputs[:8], lambda x: np.zeros((len(x), 1), np.int8))
    assert report.plan.differing_bytes > 0


def test_inputs_must_be_codes(tmp_path: Path) -> None:
    path, _ = saved("mlp32_pt", tmp_path)
    with pytest.raises(InputError, match="int8"):
        parity(path, np.zeros((2, 32), np.float32))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runtime_python() -> Path:
    """The python of a venv with tflite-runtime and numpy 1: TINYFIN_TFLITE_RUNTIME_PYTHON, or one
    made in the cache folder."""
    named = os.environ.get("TINYFIN_TFLITE_RUNTIME_PYTHON")
    if named:
        return Path(named)
    venv = cache_dir() / "tflite-runtime"
    python = venv / "bin" / "python"
    probe = [str(python), "-c", "import tflite_runtime.interpreter"]
    if python.exists() and subprocess.run(probe, capture_output=True, timeout=60).returncode == 0:
        return python
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        [str(python), "-m", "pip", "install", "--quiet", "tflite-runtime==2.14.0", "numpy<2"],
    )
    for step in steps:
        try:
            subprocess.run(step, check=True, capture_output=True, text=True, timeout=180)
        except (OSError, subprocess.SubprocessError) as error:
            why = str(getattr(error, "stderr", None) or error).strip().splitlines()[-1:]
            pytest.skip(f"tflite-runtime cannot be installed here: {' '.join(why)}")
    return python


def test_tflite_runtime_in_its_own_venv(runtime_python: Path, tmp_path: Path) -> None:
    path, inputs = saved("ae16_pt", tmp_path)
    report = parity(path, inputs, interpreter=runtime_python)
    assert report.interpreter.max_abs_difference <= 2
    assert report.interpreter.differing_bytes < report.bytes // 10


def test_a_missing_tflite_runtime_is_a_tool_error(tmp_path: Path) -> None:
    path, inputs = saved("mlp32_pt", tmp_path)
    nothing = tmp_path / "python"
    nothing.write_text("#!/bin/sh\necho 'no such package' >&2\nexit 1\n")
    nothing.chmod(0o755)
    with pytest.raises(ToolError, match=r"no such package.*numpy<2"):
        parity(path, inputs[:2], interpreter=nothing)


def test_this_python_is_an_interpreter_too(tmp_path: Path) -> None:
    path, inputs = saved("mlp32_pt", tmp_path)
    report = parity(path, inputs[:8], interpreter=Path(sys.executable))
    assert report.interpreter.name.startswith("ai-edge-litert")
    assert report.interpreter.differing_bytes == report.litert_auto.differing_bytes
