# SPDX-License-Identifier: Apache-2.0
"""DENSITY and FOREST: the engine against the oracle, damage, files, reasons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.engine.integer_models import KINDS, answers, make
from tests.engine.test_plan_safety import E_KERNEL, E_PLAN, stays_in_its_memory
from tests.support.native import KERNELS_ALL, Network
from tests.support.packs import patched
from tinyfin.errors import ModelError
from tinyfin.features.compiler import compile_program
from tinyfin.oracle.decision import Model
from tinyfin.oracle.terms import terms_network
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.container import build_pack
from tinyfin.pack.decision import Decision
from tinyfin.pack.integer_model import DensityTables, Forest, decode_integer_model
from tinyfin.pack.integer_plan import compile_integer_plan
from tinyfin.pack.maps import InputMap, encode_maps
from tinyfin.pack.plan import describe, repack
from tinyfin.pack.readout import Readout
from tinyfin.schema import Field, Schema
from tinyfin.twin import Twin

KERNEL = {"density": 256, "forest": 512}


@pytest.mark.parametrize("kind", KINDS)
def test_every_term_and_sum_is_the_oracles(net: Network, kind: str) -> None:
    spoilt = Network("TFIN_TEST_NO_ROUNDING")
    caught = 0
    for seed in range(60):
        model, x = make(kind, seed)
        plan = compile_integer_plan(model)
        terms, sums = answers(model, x)
        assert np.array_equal(net.run(plan, x), terms)
        assert np.array_equal(net.run(plan, x, accumulators=True), sums)
        low, high = model.bounds
        assert low <= sums.min()
        assert sums.max() <= high
        wrong = not np.array_equal(spoilt.run(plan, x), terms)
        caught += wrong or not np.array_equal(spoilt.run(plan, x, accumulators=True), sums)
    assert caught > 0, "the sabotaged kernel was not noticed"


@pytest.mark.parametrize("kind", KINDS)
def test_plan_and_file_tell_the_same(kind: str) -> None:
    model, _ = make(kind, 3)
    again = decode_integer_model(model.encode())
    assert again.encode() == model.encode()
    plan = compile_integer_plan(model)
    assert compile_integer_plan(again) == plan
    told = describe(plan)
    assert told["kernel_names"] == [kind.upper()]
    assert told["accumulators"] == 1
    assert told["operators"][0]["inputs"] == model.inputs
    assert repack(repack(plan, "rows"), "canonical") == plan


def test_mutated_plans_stay_inside_their_memory(tmp_path: Path) -> None:
    for kind in KINDS:
        stays_in_its_memory(compile_integer_plan(make(kind, 4)[0]), tmp_path, 60_000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_field_is_refused(net: Network, kind: str) -> None:
    plan = compile_integer_plan(make(kind, 5)[0])
    assert net.check(plan) == 0
    for offset, form, value in (
        (44, "I", 0),  # nowhere to put the sum
        (65, "B", 1),  # flags
        (66, "H", 28),  # record
        (76, "H", 60_000),  # inputs
        (78, "H", 60_000),  # outputs
        (80, "I", len(plan)),  # constants
        (84, "B", 7 if kind == "density" else 0),
        (84, "B", 200),
        (85, "B", 1),
    ):
        assert net.check(patched(plan, offset, form, value)) == E_PLAN, offset
    if kind == "forest":  # the first split looks at an input that there is not
        assert net.check(patched(plan, 88 + 2, "B", 255)) == E_PLAN
    assert net.check(plan, kernels=KERNELS_ALL & ~KERNEL[kind]) == E_KERNEL


def test_a_build_without_them_refuses_them() -> None:
    small = Network("TFIN_KERNELS=3u")
    for kind in KINDS:
        assert small.check(compile_integer_plan(make(kind, 1)[0])) == E_KERNEL


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "format 2"),
        ({"kind": "knn"}, "neither density nor forest"),
        ({"tables": [[1, 2, 3]]}, "entries"),
        ({"tables": [[1, 2, 3, 256]]}, "uint8"),
        ({"tables": None}, "no integer model"),
    ],
)
def test_a_damaged_file_is_refused(change: dict[str, object], told: str) -> None:
    table = json.loads(make("density", 1)[0].encode()) | change
    with pytest.raises(ModelError, match=told):
        decode_integer_model(json.dumps(table).encode())


def test_trees_that_look_past_the_inputs_are_refused() -> None:
    model, _ = make("forest", 2)
    assert isinstance(model, Forest)
    with pytest.raises(ModelError, match="looks at input"):
        Forest(int(model.feature.max()), model.feature, model.threshold, model.leaf)


@pytest.mark.parametrize("kind", KINDS)
def test_reasons_in_a_pack_are_the_oracles(kind: str) -> None:
    """Of tables the engine takes the terms themselves, of trees it runs again: the same reasons."""
    inputs = 6
    rng = np.random.default_rng(8)
    schema = Schema("row", tuple(Field(f"c{i}", "i32") for i in range(inputs)))
    features = {"names": [f"f{i}" for i in range(inputs)]}
    features |= {f"f{i}": {"op": "field", "name": f"c{i}"} for i in range(inputs)}
    from tinyfin.config import from_table

    config = from_table(
        {
            "schema": {
                "name": "row",
                "fields": [{"name": f"c{i}", "type": "i32"} for i in range(inputs)],
            },
            "features": features,
        }
    )
    program = compile_program(config.features, schema, **config.features.capacities)
    model = (
        DensityTables(rng.integers(0, 256, (inputs, 32)).astype(np.uint8))
        if kind == "density"
        else Forest(
            inputs,
            rng.integers(0, inputs, (9, 15)).astype(np.uint8),
            rng.integers(-99, 99, (9, 15)).astype(np.int8),
            rng.integers(0, 256, (9, 16)).astype(np.uint8),
        )
    )
    maps = [InputMap((-128, 127), (-128, 127))] * inputs
    calibration = Calibration((0, 5000), (0, 2**31))
    for shift in (0, 3):
        readout = Readout.accumulator(0, shift)
        decision = Decision(tuple(range(11, 11 + inputs)), (5,) * inputs, go_online_q32=0)
        parts = {"readout": readout, "calibration": calibration, "decision": decision}
        plan = compile_integer_plan(model)
        twin = Twin(build_pack(schema, program, maps=maps, plan=plan, **parts))
        coded = [part.encode() for part in parts.values()]
        oracle = Model(encode_maps(maps), *coded, terms_network(model.encode()))
        for i in range(60):
            row = rng.integers(-128, 128, inputs)
            found = twin.score(0, i, i, i, row.astype(np.int64), (1 << inputs) - 1)
            expected = oracle.answer(row.tolist())
            assert (found.raw, found.score_q32) == (expected.raw, expected.score_q32)
            assert tuple(found.reasons) == expected.reasons
