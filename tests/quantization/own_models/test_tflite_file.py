# SPDX-License-Identifier: Apache-2.0
"""An int8 .tflite on the run's codes goes into a pack as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.quantization.own_models.tflites import own_tflite
from tests.support.cli import tinyfin
from tinyfin.errors import ModelError
from tinyfin.quantization.own_models.tflite_file import read_tflite
from tinyfin.quantization.parity import tflm
from tinyfin.training.run_folder import open_run
from tinyfin.twin import Twin


def test_it_is_packed_byte_for_byte(run_copy: Path) -> None:
    width = len(open_run(run_copy).facts().features.names)
    path = run_copy.parent / "mine.tflite"
    path.write_bytes(own_tflite(width))
    for line in (f"quantize {run_copy} --model {path}", f"quantize {run_copy.parent}/run-mine"):
        answer = tinyfin(line)
        assert "network against TFLM: 0 of" in answer.output
        made = open_run(run_copy.parent / "run-mine")
        assert made.tflite.read_bytes() == path.read_bytes()
    facts, slices = made.facts(), made.slices()
    assert facts.model.family == "own"
    rows = slices["test"][:200]
    expected = tflm(path.read_bytes(), rows)
    outputs, raw = Twin(made.pack_bytes()).infer(rows)
    assert np.array_equal(outputs, expected)
    # the source's score is its int8 output; the pack's the accumulator that it was rounded from
    score = (expected[:, 0].astype(np.float32) + 10) * np.float32(0.05)
    assert np.array_equal(slices["test_float"][:200], score)
    order = np.argsort(raw, kind="stable")
    assert np.all(np.diff(expected[order, 0].astype(int)) >= 0)


def test_other_codes_are_refused() -> None:
    for scale, zero, said in (
        (1 / 64, -128, "scale 0.015625 and zero point -128; the run gives codes of scale 1/64"),
        (1 / 32, 0, "scale 0.03125 and zero point 0; .*reach -2.0 and 1.984375"),
    ):
        with pytest.raises(ModelError, match=said):
            read_tflite(own_tflite(4, scale=scale, zero_point=zero), "own", 4, "accumulator")
    with pytest.raises(ModelError, match="takes 4 inputs; the run has 5"):
        read_tflite(own_tflite(4), "own", 5, "accumulator")
    with pytest.raises(ModelError, match="1 outputs for 4 inputs"):
        read_tflite(own_tflite(4), "own", 4, "reconstruction")
    with pytest.raises(ModelError, match=r"not a \.tflite file"):
        read_tflite(b"TFL2", "own", 4, "accumulator")
