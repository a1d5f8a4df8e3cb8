# SPDX-License-Identifier: Apache-2.0
"""How far the other interpreters are from TFLM is measured, not assumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.network.native import Native
from tinyfin.errors import InputError, ToolError
from tinyfin.pack.plan import compile_plan
from tinyfin.quantize.parity import parity
from tinyfin.quantize.tflite_model import load


def test_the_plan_agrees_and_litert_does_not(net: Native, anchors: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    path = anchors / "ae16_pt.tflite"
    inputs = np.load(anchors / "ae16_pt_in.npy")
    plan = compile_plan(load(path))
    report = parity(path, inputs, lambda x: net.run(plan, x))
    assert report["rows"] == len(inputs)
    assert report["plan"] == {"differing_bytes": 0, "max_abs_difference": 0}
    # LiteRT since 1.3 requantises FULLY_CONNECTED with one rounding
    assert 0 < report["litert_auto"]["differing_bytes"] < report["bytes"] // 10
    assert report["litert_auto"]["max_abs_difference"] <= 3
    assert report["litert_reference"]["differing_bytes"] > 0


def test_a_wrong_plan_is_seen(anchors: Path) -> None:
    path = anchors / "mlp32_pt.tflite"
    inputs = np.load(anchors / "mlp32_pt_in.npy")[:8]
    report = parity(path, inputs, lambda x: np.zeros((len(x), 1), np.int8))
    assert report["plan"]["differing_bytes"] > 0


def test_inputs_must_be_codes(anchors: Path) -> None:
    with pytest.raises(InputError, match="int8"):
        parity(anchors / "mlp32_pt.tflite", np.zeros((2, 32), np.float32))  # type: ignore[arg-type]


def test_tflite_runtime_in_its_own_venv(anchors: Path) -> None:
    """TINYFIN_TFLITE_RUNTIME_PYTHON names the python of a venv with tflite-runtime and numpy 1."""
    python = os.environ.get("TINYFIN_TFLITE_RUNTIME_PYTHON")
    if not python:
        pytest.skip("TINYFIN_TFLITE_RUNTIME_PYTHON is not set")
    subprocess.run([python, "-c", "import tflite_runtime"], check=True, timeout=60)
    inputs = np.load(anchors / "mlp32_pt_in.npy")
    report = parity(anchors / "mlp32_pt.tflite", inputs, tflite_runtime_python=Path(python))
    assert report["tflite_runtime"]["max_abs_difference"] <= 1


def test_a_missing_tflite_runtime_is_a_tool_error(anchors: Path) -> None:
    inputs = np.load(anchors / "mlp32_pt_in.npy")[:2]
    with pytest.raises(ToolError, match="numpy<2"):
        parity(anchors / "mlp32_pt.tflite", inputs, tflite_runtime_python=Path(sys.executable))
