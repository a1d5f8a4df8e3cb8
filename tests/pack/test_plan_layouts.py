# SPDX-License-Identifier: Apache-2.0
"""A plan in another layout is the same network: nothing is lost, no byte of an answer changes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.test_random_shapes import random_graph, random_inputs
from tests.support.native import Network, tflm
from tinyfin.errors import PackError
from tinyfin.formats import LAYOUTS
from tinyfin.pack.plan import compile_plan, describe, layout_of, repack
from tinyfin.tflite.model import load


@pytest.mark.parametrize("seed", range(24))
def test_every_layout_answers_alike(net: Network, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_graph(rng, layers=1 + seed % 3).build()
    parsed = load(model)
    inputs = random_inputs(rng, 8, parsed.input_tensor.size)
    expected = tflm(model, inputs)
    canonical = compile_plan(parsed)
    for layout in LAYOUTS:
        plan = repack(canonical, layout)
        assert layout_of(plan) == layout
        assert len(plan) == len(canonical)
        assert describe(plan)["arena_bytes"] == describe(canonical)["arena_bytes"]
        assert np.array_equal(net.run(plan, inputs), expected), layout
        for other in LAYOUTS:
            assert repack(plan, other) == repack(canonical, other)


def test_a_wrong_layout_is_noticed(net: Network) -> None:
    """The layout's number alone does not make the answer right: the bytes have to match it."""
    model = random_graph(np.random.default_rng(3), layers=1).build()
    parsed = load(model)
    inputs = random_inputs(np.random.default_rng(3), 8, parsed.input_tensor.size)
    plan = bytearray(compile_plan(parsed))
    plan[6] = LAYOUTS.index("rows")
    assert not np.array_equal(net.run(bytes(plan), inputs), tflm(model, inputs))


def test_unknown_layouts_are_refused_by_name(net: Network) -> None:
    plan = compile_plan(load(random_graph(np.random.default_rng(4), layers=1).build()))
    with pytest.raises(PackError, match=r"'diagonal'.*canonical, rows, columns"):
        repack(plan, "diagonal")
    strange = bytearray(plan)
    strange[6] = 3
    assert net.check(bytes(strange)) != 0
    with pytest.raises(PackError, match="layout 3"):
        layout_of(bytes(strange))
