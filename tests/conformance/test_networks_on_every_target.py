# SPDX-License-Identifier: Apache-2.0
"""Every anchor that fits, and generated networks, on every core: TFLM's bytes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance.conftest import on_target
from tests.engine import anchors
from tests.engine.integer_models import KINDS, answers
from tests.engine.integer_models import make as make_integer
from tests.engine.operator_models import OPERATORS, TABLES, random_inputs
from tests.engine.test_operators_equal_tflm import autoencoder, residual, whitening
from tests.engine.test_random_shapes import random_graph
from tests.support.graph import Graph
from tests.support.native import tflm
from tinyfin.measure import instrument
from tinyfin.pack.integer_plan import compile_integer_plan
from tinyfin.pack.plan import compile_plan, repack
from tinyfin.targets import catalogue
from tinyfin.tflite.model import load

MODELS, EACH = 20, 10
WIDTHS = (1, 2, 3, 15, 16, 17, 260, 700)

Case = tuple[bytes, NDArray[np.int8], NDArray[np.int8]]


@cache
def anchor(name: str) -> Case:
    """Plan, inputs, TFLM's outputs."""
    model = anchors.anchor(name)
    rows = [*range(4 if name == "ad01" else 62), -2, -1]
    return compile_plan(load(model.tflite)), model.x[rows], model.y[rows]


@cache
def generated() -> dict[str, list[Case]]:
    """At least ten models of every operator: random shapes that no kernel was tuned for, and for
    FULLY_CONNECTED every width of WIDTHS, per-tensor and per-channel by turns."""
    made: dict[str, list[Case]] = {}
    for seed in range(3000, 3000 + MODELS):
        rng = np.random.default_rng(seed)
        width = dict(enumerate(WIDTHS)).get(seed - 3000)
        made.setdefault("FULLY_CONNECTED", []).append(
            case_of(random_graph(rng, layers=1 + seed % 3, width=width), rng)
        )
    graphs = {"autoencoder": autoencoder, "whitening": whitening, "residual": residual}
    for name, make in {**OPERATORS, **TABLES, **graphs}.items():
        for seed in range(EACH):
            rng = np.random.default_rng([7, seed, len(name)])
            made.setdefault(name, []).append(case_of(make(rng), rng))
    for kind in KINDS:
        for seed in range(EACH):
            integers, x = make_integer(kind, seed)
            made.setdefault(kind, []).append(
                (compile_integer_plan(integers), x, answers(integers, x)[0])
            )
    return made


def case_of(graph: Graph, rng: np.random.Generator) -> Case:
    """A generated model, rows of random inputs and extremes, TFLM's outputs."""
    model = graph.build()
    parsed = load(model)
    x = random_inputs(rng, 5, parsed.input_tensor.size)
    return compile_plan(parsed), x, tflm(model, x)


@pytest.mark.parametrize("name", on_target())
def test_anchors(name: str) -> None:
    """All seven; on parts that are too small for ad01, the six others."""
    image = instrument.build(name)
    names = [n for n in anchors.NAMES if len(anchor(n)[0]) + 8192 < instrument.room(image)]
    assert len(names) >= 6
    check(image, [anchor(n) for n in names])
    if image.target.layout != "canonical":
        check(image, [repacked(anchor(n), image.target.layout) for n in names])


@pytest.mark.parametrize("name", on_target("cortex-m4"))
def test_ad01_as_armv6m_code(name: str) -> None:
    """ad01 does not fit the Cortex-M0's board: the same ARMv6-M code on a larger machine."""
    image = instrument.build(name, code_of="cortex-m0")
    check(image, [repacked(anchor("ad01"), catalogue.get("cortex-m0").layout)])


@pytest.mark.parametrize("name", on_target())
def test_generated_networks(name: str) -> None:
    """Random shapes of every operator, in as few tapes as the part allows."""
    image = instrument.build(name)
    layout = image.target.layout
    room = instrument.room(image) - 4096
    models = {
        operator: [case for case in cases if len(case[0]) < room]
        for operator, cases in generated().items()
    }
    counts = {operator: len(cases) for operator, cases in models.items()}
    assert min(counts.values()) >= EACH
    check(image, [repacked(case, layout) for cases in models.values() for case in cases])
    if layout != "canonical":
        check(image, models["FULLY_CONNECTED"])
    print(f"{name}: models with 0 differing bytes: {counts}")


@pytest.mark.parametrize("name", on_target("cortex-m3"))
def test_one_wrong_byte_is_caught(name: str) -> None:
    """Negative control of the comparison."""
    image = instrument.build(name)
    plan, x, y = generated()["FULLY_CONNECTED"][0]
    wrong = y.copy()
    wrong[2, 0] ^= 1
    found = instrument.run(image, instrument.Tape().network(plan, x, wrong))
    assert found.differing == 1


def repacked(case: Case, layout: str) -> Case:
    """The same network with its weights in the layout that the target's fast kernel reads."""
    plan, x, y = case
    return repack(plan, layout), x, y


def check(image: instrument.BuildResult, cases: list[Case]) -> None:
    room = instrument.room(image)
    tape = instrument.Tape()
    for plan, x, y in cases:
        part = instrument.Tape().network(plan, x, y)
        if len(tape) + len(part) > room:
            run(image, tape)
            tape = instrument.Tape()
        tape.extend(part)
    run(image, tape)


def run(image: instrument.BuildResult, tape: instrument.Tape) -> None:
    found = instrument.run(image, tape)
    assert found.numbers("rows")
    assert not found.differing, f"{found.target}: {found.first}; {found.numbers('rows')}"
