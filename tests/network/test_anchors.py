# SPDX-License-Identifier: Apache-2.0
"""The anchor models give TFLM's bytes, and a wrong rounding does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.network.native import ANCHOR_NAMES, Native, tflm
from tinyfin.pack.plan import compile_plan, describe
from tinyfin.tflite.model import load
from tinyfin.twin import run_plan


@pytest.mark.parametrize("name", ANCHOR_NAMES)
def test_every_row_equals_tflm(net: Native, anchors: Path, name: str) -> None:
    inputs = np.load(anchors / f"{name}_in.npy")
    expected = np.load(anchors / f"{name}_out_double.npy").reshape(len(inputs), -1)
    path = anchors / f"{name}.tflite"
    answer = net.run(compile_plan(load(path)), inputs)
    assert np.count_nonzero(answer != expected) == 0
    assert np.count_nonzero(answer != tflm(path.read_bytes(), inputs)) == 0


@pytest.mark.parametrize("name", ANCHOR_NAMES)
def test_the_twin_gives_tflms_bytes(anchors: Path, name: str) -> None:
    inputs = np.load(anchors / f"{name}_in.npy")
    expected = np.load(anchors / f"{name}_out_double.npy").reshape(len(inputs), -1)
    plan = compile_plan(load(anchors / f"{name}.tflite"))
    assert np.array_equal(run_plan(plan, inputs, expected.shape[1]), expected)


@pytest.mark.parametrize("name", ["ad01_int8", "ae16_pc", "ae16_pt", "mlp32_pc", "mlp32_pt"])
def test_single_rounding_is_caught(
    anchors: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    wrong = Native(tmp_path_factory.mktemp("wrong"), "TFIN_TEST_SINGLE_ROUNDING")
    inputs = np.load(anchors / f"{name}_in.npy")
    expected = np.load(anchors / f"{name}_out_double.npy").reshape(len(inputs), -1)
    answer = wrong.run(compile_plan(load(anchors / f"{name}.tflite")), inputs)
    assert np.count_nonzero(answer != expected) > 0


@pytest.mark.parametrize("name", ANCHOR_NAMES)
def test_plans_are_deterministic_and_small(anchors: Path, name: str) -> None:
    path = anchors / f"{name}.tflite"
    plan = compile_plan(load(path))
    assert plan == compile_plan(load(path.read_bytes()))
    about = describe(plan)
    assert about["plan_bytes"] == len(plan) < path.stat().st_size
    assert all(op.get("narrow", True) for op in about["operators"])


def test_accumulators_are_those_before_requantisation(net: Native, anchors: Path) -> None:
    model = load(anchors / "mlp32_pt.tflite")
    inputs = np.load(anchors / "mlp32_pt_in.npy")
    plan = compile_plan(model, accumulators=True)
    got = net.run(plan, inputs, accumulators=True)
    last = model.operators[-1]
    w, b = (model.tensors[t] for t in last.inputs[1:])
    x, y = model.tensors[last.inputs[0]], model.output_tensor
    real = float(x.scale) * float(w.scale) / float(y.scale)
    codes = np.clip(np.rint(got * real) + y.zero_point, -128, 127)
    assert b.data is not None
    assert got.dtype == np.int32
    assert np.abs(codes - net.run(plan, inputs)).max() <= 1
    assert len(np.unique(got)) > len(np.unique(codes))
