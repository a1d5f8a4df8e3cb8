# SPDX-License-Identifier: Apache-2.0
"""Encoders against evaluators, and both against the formulas of pack.md in plain integers."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyfin.errors import PackError
from tinyfin.pack.calibration import Calibration, to_q32
from tinyfin.pack.decision import Decision, mix
from tinyfin.pack.golden import Golden
from tinyfin.pack.maps import InputMap, decode_maps, encode_maps, map_inputs
from tinyfin.pack.readout import Readout

I16 = st.integers(-32768, 32767)
I8 = st.integers(-128, 127)
I32 = st.integers(-(2**31), 2**31 - 1)
U32 = st.integers(0, 2**32 - 1)


@st.composite
def maps(draw: st.DrawFn) -> InputMap:
    x = sorted(draw(st.sets(I16, min_size=2, max_size=32)))
    return InputMap(tuple(x), tuple(draw(st.lists(I8, min_size=len(x), max_size=len(x)))))


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    raw = sorted(draw(st.sets(I32, min_size=2, max_size=64)))
    p = sorted(draw(st.lists(U32, min_size=len(raw), max_size=len(raw))))
    return Calibration.strict(raw, p)


def engine_map(payload: bytes, index: int, f: int) -> int:
    """MAPS as pack.md writes it, from the bytes."""
    at, k = struct.unpack_from("<IH", payload, 8 + 8 * index)
    knots = [struct.unpack_from("<hbBi", payload, at + 8 * i) for i in range(k)]
    if f <= knots[0][0]:
        return int(knots[0][1])
    if f >= knots[-1][0]:
        return int(knots[-1][1])
    x, y, _, slope = [knot for knot in knots if knot[0] <= f][-1]
    assert abs((f - x) * slope) < 2**30
    return int(max(-128, min(127, y + (((f - x) * slope + 32768) >> 16))))


def engine_calibration(payload: bytes, raw: int) -> int:
    """CALI as pack.md writes it, from the bytes."""
    n = struct.unpack_from("<H", payload)[0]
    knots = [struct.unpack_from("<iIQ", payload, 8 + 16 * i) for i in range(n)]
    if raw <= knots[0][0]:
        return int(knots[0][1])
    if raw >= knots[-1][0]:
        return int(knots[-1][1])
    i = [j for j in range(n) if knots[j][0] <= raw][-1]
    x, p, slope = knots[i]
    assert 65536 <= slope < 2**48
    assert (knots[i + 1][0] - x) * slope <= (knots[i + 1][1] - p) << 16
    return int(p + min(((raw - x) * slope) >> 16, knots[i + 1][1] - p))


@settings(max_examples=100, deadline=None)
@given(st.lists(maps(), min_size=1, max_size=4), st.lists(I16, min_size=1, max_size=50))
def test_maps(given_maps: list[InputMap], features: list[int]) -> None:
    payload = encode_maps(given_maps)
    assert decode_maps(payload) == tuple(given_maps)
    values = np.array(features + [x for m in given_maps for x in m.x], np.int16)
    table = np.repeat(values[:, None], len(given_maps), axis=1)
    got = map_inputs(given_maps, table)
    for i, m in enumerate(given_maps):
        assert got[:, i].tolist() == [engine_map(payload, i, int(f)) for f in values]
        assert m.evaluate(np.array(m.x)).tolist() == list(m.y)


def test_equal_maps_share_their_knots() -> None:
    one = InputMap((0, 10), (0, 100))
    assert len(encode_maps([one, one, one])) == 8 + 3 * 8 + 16


@settings(max_examples=100, deadline=None)
@given(calibrations(), st.lists(I32, min_size=1, max_size=50))
def test_calibration(table: Calibration, raws: list[int]) -> None:
    payload = table.encode()
    assert Calibration.decode(payload) == table
    near = {x + d for x in table.raw for d in (-1, 0, 1)}
    values = sorted({*raws, *(x for x in near if -(2**31) <= x < 2**31)})
    got = table.evaluate(np.array(values, np.int64)).tolist()
    assert got == [engine_calibration(payload, raw) for raw in values]
    inside = [p for x, p in zip(values, got, strict=True) if table.raw[0] <= x <= table.raw[-1]]
    assert all(a < b for a, b in pairwise(inside))


def test_every_raw_score_has_its_own_probability() -> None:
    table = Calibration.strict((-3, 0, 5), (7, 7, 7), low=-128, high=127)
    everything = table.evaluate(np.arange(-128, 128))
    assert (np.diff(everything.astype(np.int64)) >= 1).all()


def test_the_widest_range_still_rises() -> None:
    low, high = -(2**31), 2**31 - 1
    table = Calibration.strict((low, 0, high), (0, 2**32 - 1, 2**32 - 1))
    assert table.p_q32 == (0, 2**31, 2**32 - 1)


def test_knots_that_do_not_rise_are_refused() -> None:
    with pytest.raises(PackError, match=r"knot 1.*Calibration\.strict"):
        Calibration((0, 10, 20), (0, 10, 19))
    with pytest.raises(PackError, match="ascend strictly"):
        Calibration.strict((0, 0), (1, 2))
    assert (to_q32(0.0), to_q32(0.5), to_q32(1.0)) == (0, 2**31, 2**32 - 1)


def test_readouts() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (50, 6), dtype=np.int8)
    y = rng.integers(-128, 128, (50, 6), dtype=np.int8)
    acc = rng.integers(-(2**31), 2**31, (50, 3)).astype(np.int32)
    logit = Readout.logit(2, zero_point=-9)
    assert logit.evaluate(x, y).tolist() == [int(row[2]) + 9 for row in y]
    shifted = Readout.accumulator(1, shift=5)
    assert shifted.evaluate(x, y, acc).tolist() == [int(row[1]) >> 5 for row in acc]
    error = Readout.reconstruction(zero_in=-5, scale_in=65535, zero_out=7, scale_out=300, shift=3)
    expected = []
    for row, out in zip(x.tolist(), y.tolist(), strict=True):
        terms = [((a + 5) * 65535 - (b - 7) * 300) >> 8 for a, b in zip(row, out, strict=True)]
        expected.append(min(sum(e * e for e in terms) >> 3, 2**31 - 1))
    assert error.evaluate(x, y).tolist() == expected
    for readout in (logit, shifted, error):
        assert Readout.decode(readout.encode()) == readout
    with pytest.raises(PackError, match="zero point 200"):
        Readout.reconstruction(zero_in=200, scale_in=1, zero_out=0, scale_out=1)
    with pytest.raises(PackError, match="outside 0 to 65535"):
        Readout.reconstruction(zero_in=0, scale_in=65536, zero_out=0, scale_out=1)


def test_decisions() -> None:
    decision = Decision((1, 0), (5, -5), 100, 200, control_share_q16=6554)
    scores = np.array([0, 99, 100, 199, 200, 2**32 - 1], np.uint32)
    assert decision.evaluate(scores).tolist() == [0, 0, 1, 1, 2, 2]
    assert Decision.decode(decision.encode()) == decision
    verifying = replace(decision, verify_q32=150)
    assert verifying.advice(scores).tolist() == [0, 0, 1, 2, 3, 3]
    assert decision.advice(scores).tolist() == [0, 0, 1, 1, 3, 3]
    assert Decision.decode(verifying.encode()) == verifying
    assert verifying.encode()[:22] == decision.encode()[:22]
    assert verifying.encode()[24:] == decision.encode()[24:] + (150).to_bytes(4, "little")
    for outside in (99, 201):
        with pytest.raises(PackError, match=f"verify_q32 {outside} must lie between"):
            replace(decision, verify_q32=outside)
    never = Decision((), (), 0, never_decline=True)
    assert never.evaluate(scores).tolist() == [1] * 6
    assert Decision((), (), 0, 0, never_online=True).evaluate(scores).tolist() == [2] * 6
    share = decision.control(np.arange(20_000, dtype=np.uint64)).mean()
    assert 0.09 < share < 0.11
    with pytest.raises(PackError, match="must not exceed"):
        Decision((), (), 2, 1)
    sided = Decision((1, 0, 300), (5, -5, 0), below=(0, 9, 300))
    assert Decision.decode(sided.encode()) == sided
    assert Decision((1, 0), (5, -5)).below == (1, 0)
    with pytest.raises(PackError, match="reason 255 below"):
        Decision((1,), (5,), below=(255,))


def test_the_mix_of_ids() -> None:
    def plain(x: int) -> int:
        x ^= x >> 31
        x = x * 0x7FB5D329728EA185 % 2**64
        x ^= x >> 27
        x = x * 0x81DADEF4BC2DD44D % 2**64
        return x ^ x >> 33

    ids = [0, 1, 2**31, 2**63 + 12345, 2**64 - 1]
    assert mix(np.array(ids, np.uint64)).tolist() == [plain(x) for x in ids]


@pytest.mark.parametrize("length", [1, 4, 7])
def test_golden_vectors(length: int) -> None:
    inputs = np.arange(-3 * length, 0, dtype=np.int8).reshape(3, length)
    golden = Golden(inputs, np.array([1, -2, 2**31 - 1], np.int32))
    payload = golden.encode()
    assert len(payload) % 4 == 0
    again = Golden.decode(payload)
    assert (again.inputs == inputs).all()
    assert (again.raw == golden.raw).all()
    with pytest.raises(PackError, match="GOLD"):
        Golden.decode(payload[:-1])
