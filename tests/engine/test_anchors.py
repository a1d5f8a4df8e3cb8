# SPDX-License-Identifier: Apache-2.0
"""The anchor models give TFLM's bytes, and a wrong rounding does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.engine.anchors import NAMES, anchor
from tests.support.native import ROOT, Network, tflm
from tinyfin.pack.plan import compile_plan, describe
from tinyfin.pack.readout import Readout
from tinyfin.tflite.model import load
from tinyfin.twin import NetworkTwin

FILES = Path(os.environ.get("TINYFIN_SHARED", ROOT.parent / "shared")) / "anchors"


@pytest.mark.parametrize("name", NAMES)
def test_engine_and_twin_give_tflms_bytes(net: Network, name: str) -> None:
    model = anchor(name)
    plan = compile_plan(load(model.tflite))
    assert len(np.unique(model.y)) > 64, "too few different answers to show a rounding"
    assert np.array_equal(net.run(plan, model.x), model.y)
    assert np.array_equal(NetworkTwin(plan, Readout.logit(0).encode()).infer(model.x)[0], model.y)


def test_files_with_stored_answers(net: Network) -> None:
    """Models that were trained elsewhere, and the bytes that TFLM gave there."""
    if not FILES.is_dir():
        pytest.skip(f"{FILES} is not part of the repository; TINYFIN_SHARED names its parent")
    paths = sorted(FILES.glob("*.tflite"))
    assert paths
    for path in paths:
        x = np.load(FILES / f"{path.stem}_in.npy")
        y = np.load(FILES / f"{path.stem}_out_double.npy").reshape(len(x), -1)
        assert np.array_equal(net.run(compile_plan(load(path)), x), y), path
        assert np.array_equal(tflm(path.read_bytes(), x), y), path


@pytest.mark.parametrize("name", NAMES)
def test_single_rounding_is_caught(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    wrong = Network("TFIN_TEST_SINGLE_ROUNDING")
    model = anchor(name)
    assert not np.array_equal(wrong.run(compile_plan(load(model.tflite)), model.x), model.y)


@pytest.mark.parametrize("name", NAMES)
def test_plans_are_deterministic_and_small(name: str) -> None:
    tflite = anchor(name).tflite
    plan = compile_plan(load(tflite))
    assert plan == compile_plan(load(tflite))
    about = describe(plan)
    assert about["plan_bytes"] == len(plan) < len(tflite)
    assert all(op.get("narrow", True) for op in about["operators"])


def test_accumulators_are_those_before_requantisation(net: Network) -> None:
    tflite, inputs, _ = anchor("mlp32_pt")
    model = load(tflite)
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
