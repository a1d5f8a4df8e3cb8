# SPDX-License-Identifier: Apache-2.0
"""Operators that do not round are caught on the core, each by itself; equality on every target is
tests/conformance's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.engine import integer_models
from tests.engine.integer_models import KINDS
from tests.engine.operator_models import OPERATORS, random_inputs
from tests.engine.test_kernels_on_targets import CORES, Case, Image, _bundle
from tests.engine.test_operators_equal_tflm import autoencoder, residual, whitening
from tests.support.native import NETWORK, tflm
from tinyfin.pack.integer_plan import compile_integer_plan
from tinyfin.pack.plan import compile_plan
from tinyfin.tflite.model import load

MODELS = 10
ROWS = 6
#: cores whose compiler and instruction set differ
SABOTAGED = ("cortex-m0", "cortex-m4", "rv32imc", "xtensa-lx106")
MAKERS = {**OPERATORS, "autoencoder": autoencoder, "whitening": whitening, "residual": residual}


@pytest.fixture(scope="module")
def models() -> dict[str, list[Case]]:
    made: dict[str, list[Case]] = {}
    for name, make in MAKERS.items():
        for seed in range(MODELS):
            rng = np.random.default_rng([7, seed, len(name)])
            graph = make(rng)
            x = random_inputs(rng, ROWS, int(np.prod(graph.tensors[0].shape)))
            model = graph.build()
            case = Case(compile_plan(load(model)), x, tflm(model, x))
            made.setdefault(name, []).append(case)
    for kind in KINDS:
        for seed in range(MODELS):
            integers, x = integer_models.make(kind, seed)
            terms, sums = integer_models.answers(integers, x)
            case = Case(compile_integer_plan(integers), x, terms, sums[:, None])
            made.setdefault(kind, []).append(case)
    return made


def spoilt(image: Image) -> list[Path]:
    """The image's objects with operators that do not round."""
    sources = [path for path in NETWORK if path.name.startswith("net_")]
    kept = [o for o in image.objects if o.stem not in {p.stem for p in sources}]
    return [*kept, *image.compile(sources, "TFIN_TEST_NO_ROUNDING")]


@pytest.mark.parametrize("name", SABOTAGED)
def test_every_byte_on_the_core(models: dict[str, list[Case]], tmp_path: Path, name: str) -> None:
    image = Image(CORES[name], tmp_path)
    kernels = image.kernels()
    cases = [case for some in models.values() for case in some]
    done = image.run(kernels, _bundle(cases, CORES[name].layouts))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differing 0" in done.stdout
    image.objects = spoilt(image)
    for operator in (*OPERATORS, *KINDS):
        done = image.run(kernels, _bundle(models[operator], CORES[name].layouts))
        assert done.returncode != 0, operator
        assert "differs" in done.stdout
