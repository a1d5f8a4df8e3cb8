# SPDX-License-Identifier: Apache-2.0
"""From features to verdicts: the oracle against tables by hand, the twin against the oracle."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.operator_rig import AMOUNT, FLAG, GATE, KIND, SCHEMA, SMALL, TOKEN
from tests.oracle.streams import SETTINGS, Step, side_by_side, streams
from tests.oracle.twin_terminal import TwinTerminal
from tests.support.assembler import Assembler
from tests.support.graph import Graph
from tests.support.packs import pack
from tinyfin.oracle import Model, OracleEngine
from tinyfin.oracle.decision import calibrate, map_feature, mix, read_decision, read_out
from tinyfin.pack.calibration import Calibration
from tinyfin.pack.decision import NEVER_Q32, Decision
from tinyfin.pack.maps import InputMap, encode_maps
from tinyfin.pack.plan import compile_plan, describe
from tinyfin.pack.readout import Readout
from tinyfin.tflite.model import load
from tinyfin.twin import Twin

# ------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("feature", "code"),
    # from (-10, -100) to (0, 0): 10 per unit; to (100, 50): a half per unit, halves up
    [
        (-32768, -100),
        (-10, -100),
        (-9, -90),
        (0, 0),
        (1, 1),
        (3, 2),
        (99, 50),
        (100, 50),
        (32767, 50),
    ],
)
def test_map(feature: int, code: int) -> None:
    maps = struct.pack("<HHI IHH", 1, 0, 0, 16, 3, 0)
    for knot in ((-10, -100, 0, 10 * 65536), (0, 0, 0, 32768), (100, 50, 0, 0)):
        maps += struct.pack("<hbBi", *knot)
    assert map_feature(maps, 0, feature) == code


def test_read_outs() -> None:
    logit = struct.pack("<BBHiiI", 1, 0, 1, 0, -5, 0)
    assert read_out(logit, [], [9, 100], []) == 105
    accumulator = struct.pack("<BBHiiI", 2, 3, 0, 0, 0, 0)
    assert read_out(accumulator, [], [], [-9]) == -2
    # zero points 2 and -1, multipliers 256 and 512: (10 - 2) - 2 * (3 + 1) = 0; (0 - 2) - 2 = -4
    error = struct.pack("<BBHiiI", 3, 1, 0, 256 * 256 + 2, 512 * 256 + 255, 0)
    assert read_out(error, [10, 0], [3, 0], []) == 8


@pytest.mark.parametrize(
    ("raw", "p"), [(-99, 1000), (0, 1000), (1, 1006), (3, 1018), (4, 1025), (5, 2000), (9, 2000)]
)
def test_calibration(raw: int, p: int) -> None:
    table = struct.pack("<HHI", 3, 0, 0)
    for knot in ((0, 1000, 25 * 65536 // 4), (4, 1025, 975 * 65536), (5, 2000, 0)):
        table += struct.pack("<iIQ", *knot)
    assert calibrate(table, raw) == p


@pytest.mark.parametrize(
    ("score", "flags", "action"),
    [
        (99, 0, 0),
        (100, 0, 1),
        (199, 0, 1),
        (200, 0, 2),
        (200, 1, 1),
        (150, 2, 0),
        (200, 2, 2),
        (200, 3, 0),
    ],
)
def test_action(score: int, flags: int, action: int) -> None:
    payload = struct.pack("<IIHHIIHH", 100, 200, flags, 0, 0, 0, 0, 0)
    assert read_decision(payload).action(score) == action


@pytest.mark.parametrize(
    ("score", "flags", "verify", "advised"),
    [
        (99, 0, 100, (0, False)),
        (100, 0, 100, (1, True)),  # every GO_ONLINE is a VERIFY
        (149, 0, 150, (1, False)),
        (150, 0, 150, (1, True)),
        (199, 0, 200, (1, False)),  # none is
        (200, 0, 150, (2, False)),
        (200, 1, 150, (1, True)),  # never declines
        (150, 2, 150, (0, False)),  # never goes online
        (150, 4, 150, (0, False)),  # only watches
        (150, 0, None, (1, False)),
    ],
)
def test_verify(score: int, flags: int, verify: int | None, advised: tuple[int, bool]) -> None:
    more = b"" if verify is None else struct.pack("<I", verify)
    head = struct.pack("<IIHHIIHH", 100, 200, flags, 0, 0, 0, 1, verify is not None)
    payload = head + struct.pack("<HbB", 3, 0, 0) + more
    maps = encode_maps([InputMap((-128, 127), (-128, 127))])
    table = Calibration((0, 300), (0, 300)).encode()
    raw = Readout.accumulator().encode()
    answer = Model(maps, raw, table, payload, lambda _: ([], [score])).answer([1])
    assert answer.score_q32 == score
    assert (answer.action, answer.verify) == advised
    assert Decision.decode(payload).encode() == payload


def test_mix_is_a_bijection_with_even_top_bits() -> None:
    ids = range(40_000)
    mixed = {mix(i) for i in ids}
    assert len(mixed) == len(ids)
    share = sum(1 for x in mixed if x >> 48 < 6554)
    assert 3700 < share < 4300


def test_reasons_are_the_three_largest_positive_ties_to_the_lower_index() -> None:
    weights = (3, -2, 3, 9, 5, 1)

    def network(x: Sequence[int]) -> tuple[list[int], list[int]]:
        return [], [sum(w * v for w, v in zip(weights, x, strict=True))]

    maps = encode_maps([InputMap((-128, 127), (-128, 127))] * 6)
    readout = Readout.accumulator().encode()
    calibration = Calibration((-5000, 5000), (0, 2**31)).encode()
    decision = Decision((11, 12, 13, 0, 15, 16), (0, 0, 0, 0, 90, 1), go_online_q32=0).encode()
    answer = Model(maps, readout, calibration, decision, network).answer([7, -50, 7, 90, 100, 1])
    # contributions 21, 100, 21, (810 has no reason), 50, 0
    assert answer.reasons == (12, 15, 11)
    assert answer.raw == 21 + 100 + 21 + 810 + 500 + 1
    assert answer.action == 1


def test_a_reason_is_given_once_and_on_its_own_side() -> None:
    def network(x: Sequence[int]) -> tuple[list[int], list[int]]:
        return [], [sum(abs(v) * (i + 1) for i, v in enumerate(x))]

    maps = encode_maps([InputMap((-128, 127), (-128, 127))] * 6)
    readout = Readout.accumulator().encode()
    calibration = Calibration((0, 50_000), (0, 2**31)).encode()
    decision = Decision((7, 7, 8, 0, 9, 6), (0,) * 6, go_online_q32=0, below=(7, 0, 5, 4, 9, 6))
    entries = [struct.unpack_from("<HbB", decision.encode(), 24 + 4 * i) for i in range(6)]
    assert entries == [(7, 0, 0), (7, 0, 255), (8, 0, 5), (0, 0, 4), (9, 0, 0), (6, 0, 0)]
    model = Model(maps, readout, calibration, decision.encode(), network)
    # contributions 50, 40, 30, 40, 0, 0: reason 7 once; feature 3 has none above its reference
    assert model.answer([50, 20, 10, 10, 0, 0]).reasons == (7, 8)
    # below: feature 1 has none, feature 2 another one, feature 3 its only one
    assert model.answer([-1, -20, -10, -10, 0, 0]).reasons == (4, 5, 7)
    # feature 4 first, equal contributions in the order of features
    assert model.answer([5, 0, 0, 0, 6, 5]).reasons == (9, 6, 7)


# ------------------------------------------------------------------------------ twin and oracle

FIELDS = (SMALL, AMOUNT, KIND, FLAG, GATE, TOKEN)


def random_network(rng: np.random.Generator, inputs: int, outputs: int) -> Graph:
    graph = Graph()
    x = graph.tensor("x", [1, inputs], scales=[0.05], zero_points=[int(rng.integers(-9, 9))])
    for width in (int(rng.integers(1, 7)), outputs):
        k = int(graph.tensors[x].shape[1])
        x = graph.dense(
            x,
            rng.integers(-127, 128, (width, k), dtype=np.int8),
            rng.integers(-3000, 3000, width),
            [0.004],
            0.1,
            int(rng.integers(-20, 20)),
            str(rng.choice(["NONE", "RELU"])),
        )
    return graph


def random_map(rng: np.random.Generator) -> InputMap:
    knots = int(rng.integers(2, 7))
    spread = int(rng.choice([3, 300, 30_000]))
    x = sorted({int(v) for v in rng.integers(-spread, spread + 1, knots)} | {0, spread + 1})
    return InputMap(tuple(x), tuple(int(v) for v in rng.integers(-128, 128, len(x))))


def random_readout(rng: np.random.Generator, n_out: int, same: bool) -> Readout:
    kind = rng.integers(3 if same else 2)
    index = int(rng.integers(n_out))
    if kind == 0:
        return Readout.logit(index, int(rng.integers(-128, 128)))
    if kind == 1:
        return Readout.accumulator(index, int(rng.integers(0, 12)))
    zero_in, zero_out = (int(v) for v in rng.integers(-128, 128, 2))
    scale_in, scale_out = (int(v) for v in rng.choice([0, 1, 255, 4000, 65535], 2))
    return Readout.reconstruction(
        zero_in=zero_in,
        scale_in=scale_in,
        zero_out=zero_out,
        scale_out=scale_out,
        shift=int(rng.integers(0, 20)),
    )


def random_calibration(rng: np.random.Generator) -> Calibration:
    spread = int(rng.choice([100, 5000, 2**20]))
    raw = sorted({int(v) for v in rng.integers(-spread, spread, int(rng.integers(2, 9)))} | {0, 7})
    p = sorted(int(v) for v in rng.integers(0, 2**32 - 2**23, len(raw)))
    return Calibration.strict(raw, p)


def random_decision(rng: np.random.Generator, n: int) -> Decision:
    online, decline = sorted(int(v) for v in rng.integers(0, 2**32, 2))
    if rng.random() < 0.2:
        decline = NEVER_Q32
    low = online if rng.random() < 0.7 else 0
    verify = int(rng.integers(low, decline, endpoint=True)) if rng.random() < 0.6 else None
    reasons = tuple(int(v) for v in rng.choice([0, 3, 40, 41, 42, 65535], n))
    others = rng.choice([0, 3, 40, 254], n)
    same = rng.random(n) < 0.4
    return Decision(
        reasons=reasons,
        below=tuple(int(v) for v in np.where(same, reasons, others)),
        references=tuple(int(v) for v in rng.integers(-128, 128, n)),
        go_online_q32=low,
        verify_q32=verify,
        decline_q32=decline,
        never_decline=bool(rng.random() < 0.3),
        never_online=bool(rng.random() < 0.2),
        shadow=bool(rng.random() < 0.3),
        control_share_q16=int(rng.choice([0, 20_000, 65_535])),
        cold_events=int(rng.choice([0, 2, 5, 100])),
        cold_s=int(rng.choice([0, 10, 86_400, 2**31])),
    )


@settings(SETTINGS, max_examples=80)
@given(seed=st.integers(0, 2**32 - 1), steps=streams(max_size=20))
def test_verdicts(seed: int, steps: list[Step]) -> None:
    rng = np.random.default_rng(seed)
    program = Assembler(token_field=TOKEN)
    n = int(rng.integers(1, len(FIELDS) + 1))
    for i in FIELDS[:n]:
        program.feature(program.op("FIELD", p2=i))
    same = bool(rng.random() < 0.4)
    n_out = n if same else int(rng.integers(1, 4))
    plan = compile_plan(load(random_network(rng, n, n_out).build()), accumulators=True)
    kernels = int(describe(plan)["kernels"])
    readout = random_readout(rng, n_out, same)
    sections = {
        "MAPS": encode_maps([random_map(rng) for _ in range(n)]),
        "READ": readout.encode(),
        "CALI": random_calibration(rng).encode(),
        "DECI": random_decision(rng, n).encode(),
    }
    payload = program.payload()

    def packed(read: bytes) -> bytes:
        return pack(SCHEMA, payload, kernels, PLAN=plan, **{**sections, "READ": read})

    # The network itself has its own tests, against TFLM: here a twin runs it. With shift 0 the
    # raw score is the accumulator.
    bare = Twin(packed(Readout.accumulator(readout.index).encode()))

    def network(inputs: Sequence[int]) -> tuple[list[int], dict[int, int]]:
        outputs, raw = bare.infer(np.array([inputs], np.int8))
        return [int(v) for v in outputs[0]], {readout.index: int(raw[0])}

    model = Model(sections["MAPS"], sections["READ"], sections["CALI"], sections["DECI"], network)
    oracle = OracleEngine(payload, SCHEMA, model)
    side_by_side(oracle, lambda: TwinTerminal(packed(sections["READ"])), steps)
