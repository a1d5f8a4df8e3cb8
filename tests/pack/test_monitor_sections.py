# SPDX-License-Identifier: Apache-2.0
"""DRFT and LEVL: exact inverses, refused alike by Python and by the engine, made of data."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import packs
from tests.support.cli import tinyfin
from tinyfin.errors import InputError, PackError
from tinyfin.pack.container import build_pack, parse_pack
from tinyfin.pack.decision import NEVER_Q32, Decision
from tinyfin.pack.drift import DriftSection, FeatureHistogram, Histogram
from tinyfin.pack.drift_making import SMALL_BYTES, drift_section, quantile_edges
from tinyfin.pack.levels import LevelsSection, alert_rate, levels_section
from tinyfin.pack.two_samples import chi_square, chi_square_tail
from tinyfin.twin import pack_monitor

U16, U32 = st.integers(0, 65535), st.integers(0, 2**32 - 1)
I16 = st.integers(-(2**15), 2**15 - 1)


@st.composite
def histograms(draw: st.DrawFn, edge: st.SearchStrategy[int] = U32) -> Histogram:
    edges = tuple(sorted(draw(st.sets(edge, min_size=1, max_size=15))))
    weights = draw(st.lists(U16, min_size=len(edges) + 1, max_size=len(edges) + 1).filter(any))
    return Histogram(edges, tuple(weights), draw(st.integers(256, 65535)))


@st.composite
def drifts(draw: st.DrawFn) -> DriftSection:
    found = []
    for index in sorted(draw(st.sets(st.integers(0, 127), max_size=4))):
        h = draw(histograms(I16))
        found.append(FeatureHistogram(h.edges, h.weights, h.inflation_q8, index))
    return DriftSection(draw(histograms()), tuple(found))


@st.composite
def levels(draw: st.DrawFn) -> LevelsSection:
    k = draw(st.integers(2, 8))
    online = sorted(draw(st.lists(U32, min_size=k, max_size=k)))
    more = sorted(draw(st.lists(st.integers(0, 2**31), min_size=k, max_size=k)))
    pairs = tuple((o, min(o + m, NEVER_Q32)) for o, m in zip(online, more, strict=True))
    usual, target = draw(st.integers(0, k - 1)), draw(st.integers(1, 2**24 - 1))
    return LevelsSection(pairs, usual, target, draw(U16), draw(U32), draw(st.integers(1, 64)))


@given(drifts())
def test_drift_comes_back(section: DriftSection) -> None:
    payload = section.encode()
    assert DriftSection.decode(payload) == section
    assert section.device_bytes == 16 + 2 * sum(h.bins for h in section.histograms)


@given(levels())
def test_levels_come_back(section: LevelsSection) -> None:
    payload = section.encode()
    assert LevelsSection.decode(payload) == section
    assert len(payload) == 16 + 8 * len(section.thresholds)


DRIFT = DriftSection(
    Histogram((5, 1 << 20, 1 << 30), (9, 1, 2, 3), 300),
    (FeatureHistogram((-5, 7), (1, 0, 3), 256, 0), FeatureHistogram((0,), (1, 1), 512, 2)),
)
PAIR = (1 << 30, 3 << 30)
LEVELS = LevelsSection(((1 << 29, 2 << 30), PAIR, (1 << 31, 3 << 30)), 1, 1 << 17)


def damaged(payload: bytes, *changes: tuple[int, int]) -> bytes:
    out = bytearray(payload)
    for at, value in changes:
        out[at] = value
    return bytes(out)


def refused(**sections: bytes) -> tuple[bool, bool]:
    """Whether Python, and the engine, refuse a pack with these sections."""
    data = packs.build({**packs.small(), **sections})
    try:
        parse_pack(data)
    except PackError:
        return True, pack_monitor(data) < 0
    return False, pack_monitor(data) < 0


D, L = DRIFT.encode(), LEVELS.encode()
BROKEN: dict[str, dict[str, bytes]] = {
    "no score": {"DRFT": b""},
    "one bin": {"DRFT": damaged(D, (1, 1))},
    "17 bins": {"DRFT": damaged(D, (1, 17))},
    "edges that stand still": {"DRFT": damaged(D, (8, 5), (10, 0))},
    "cut off": {"DRFT": D[:-1]},
    "cut off in a head": {"DRFT": D[: 4 + 12 + 8 + 2]},
    "something behind": {"DRFT": D + b"\0"},
    "a feature more": {"DRFT": damaged(D, (0, 3))},
    "a feature that is not there": {"DRFT": damaged(D, (38, 3))},
    "features that do not ascend": {"DRFT": damaged(D, (24, 2))},
    "feature edges that fall": {"DRFT": damaged(D, (28, 0), (29, 0x70))},
    "no level": {"LEVL": damaged(L, (0, 0))},
    "one level": {"LEVL": damaged(L[:24], (0, 1), (1, 0))},
    "nine levels": {"LEVL": damaged(L[:16], (0, 9)) + L[24:32] * 9},
    "a usual level that is not there": {"LEVL": damaged(L, (1, 3))},
    "no target": {"LEVL": damaged(L, (6, 0))},
    "a target of one": {"LEVL": damaged(L, (7, 1))},
    "no limit": {"LEVL": damaged(L, (12, 0))},
    "a limit of 65": {"LEVL": damaged(L, (12, 65))},
    "reserved": {"LEVL": damaged(L, (14, 1))},
    "another usual level than DECI": {"LEVL": damaged(L, (24, 1))},
    "a level that falls": {"LEVL": damaged(L, (16, 1), (19, 0x41))},
    "a decline that falls": {"LEVL": damaged(L, (23, 0xFF))},
    "decline below online": {"LEVL": damaged(L, (35, 0xFF))},
    "cut off levels": {"LEVL": L[:-4]},
    "levels too short for a head": {"LEVL": L[:12]},
}


def test_the_layout_is_the_formats() -> None:
    """The offsets that the damage above counts on."""
    assert D[:4] == bytes([2, 4, 0x2C, 1])
    assert (D[24], D[25], D[38], D[39]) == (0, 3, 2, 2)
    assert refused(DRFT=D, LEVL=L) == (False, False)


@pytest.mark.parametrize("name", BROKEN)
def test_refused_alike(name: str) -> None:
    assert refused(**BROKEN[name]) == (True, True)


def test_what_the_engine_does_not_read_is_pythons_alone() -> None:
    """Weights that are all 0, an inflation below 1."""
    for changes in (((16, 0), (18, 0), (20, 0), (22, 0)), ((2, 0), (3, 0))):
        assert refused(DRFT=damaged(D, *changes)) == (True, False)


@given(st.integers(0, len(D) + len(L) - 1), st.integers(0, 255))
def test_any_byte(at: int, value: int) -> None:
    """What the engine refuses Python refuses, whatever the byte."""
    data = damaged(D + L, (at, value))
    python, engine = refused(DRFT=data[: len(D)], LEVL=data[len(D) :])
    assert python or not engine


def test_without_a_network(tiny: dict[str, Any]) -> None:
    names = ("maps", "plan", "readout", "calibration", "decision", "golden")
    bare = {key: value for key, value in tiny.items() if key not in names}
    for more in ({"drift": DRIFT}, {"levels": LEVELS}):
        with pytest.raises(PackError, match="without PLAN"):
            build_pack(**bare, **more)


def test_inspect(tmp_path: Path, tiny: dict[str, Any]) -> None:
    usual = (tiny["decision"].go_online_q32, tiny["decision"].decline_q32)
    ladder = LevelsSection((usual, (usual[0] + 9, usual[1])), 0, 1 << 14)
    drift = replace(DRIFT, features=DRIFT.features[:1])
    path = tmp_path / "p.tfpack"
    path.write_bytes(build_pack(**tiny, drift=drift, levels=ladder))
    found = json.loads(tinyfin("inspect", path, "--json").stdout)["monitor"]
    assert found["memory_bytes"] == drift.device_bytes == pack_monitor(path.read_bytes())
    assert found["features"] == {"amt_log": 3}
    assert found["usual_level"] == 0
    text = tinyfin("inspect", path).stdout
    assert "score in 4 bins, amt_log in 3; 2 levels for 0.098% alerts" in text


# ------------------------------------------------------------------------------ made of data


@given(st.lists(I16, min_size=1, max_size=300), st.integers(2, 16))
def test_edges_are_values_and_bins_are_not_empty(values: list[int], bins: int) -> None:
    edges = quantile_edges(np.asarray(values, np.int16), bins)
    assert len(edges) < bins
    assert set(edges) <= set(values)
    if edges:
        counts = Histogram(edges, (1,) * (len(edges) + 1)).count(np.asarray(values, np.int16))
        assert counts.min() >= len(values) / (4 * bins)


def world(n: int = 30_000, terminals: int = 30, shift: float = 0.0) -> dict[str, Any]:
    """Events of terminals that differ from each other by ``shift``."""
    rng = np.random.default_rng(3)
    terminal = rng.integers(0, terminals, n)
    own = shift * (terminal - terminals / 2)
    score = np.exp(rng.normal(own, 1)) * 2**24
    noise = rng.normal(0, 100, (n, 5))
    features = np.column_stack([noise, np.log(score) * 100, np.full(n, 7)]).clip(-32768, 32767)
    return {
        "features": features.astype(np.int16),
        "scores": score.clip(0, NEVER_Q32).astype(np.uint32),
        "terminal": terminal,
        "t_s": rng.integers(0, 10**6, n),
    }


def test_a_section_of_data() -> None:
    section = drift_section(**world(), most_bytes=SMALL_BYTES)
    assert section.device_bytes <= SMALL_BYTES
    assert section.score.bins == 16
    assert np.ptp(section.score.shares) < 0.01
    kept = [h.feature for h in section.features]
    assert 5 in kept, "the feature that tells most of the score"
    assert 6 not in kept, "one that never changes"
    assert DriftSection.decode(section.encode()) == section
    first = drift_section(**world(), most_bytes=SMALL_BYTES, importance=[1, 9, 8, 7, 6, 0, 10])
    assert [h.feature for h in first.features][:3] == [1, 2, 3]


def test_inflation_is_that_of_windows_in_time() -> None:
    """Terminals that differ from each other are healthy; one whose days differ is inflated."""
    apart = drift_section(**world(shift=0.1), window=200)
    assert apart.score.inflation_q8 < 2 * 256
    restless = world()
    day = restless["t_s"] // 200_000 % 2
    restless["scores"] = (restless["scores"] // (1 + 3 * day)).astype(np.uint32)
    assert drift_section(**restless, window=200).score.inflation_q8 > 3 * 256


def test_made_of_nothing() -> None:
    data = world(100)
    with pytest.raises(InputError, match="no events"):
        drift_section(**{key: value[:0] for key, value in data.items()})
    with pytest.raises(InputError, match="all scores are the same"):
        drift_section(**{**data, "scores": np.zeros(100, np.uint32)})
    with pytest.raises(InputError, match="too few for"):
        drift_section(**data, most_bytes=20)


def test_chi_square_by_hand() -> None:
    """The table of Numerical Recipes' formula for unequal sizes, and scipy's own test."""
    from scipy.stats import chi2_contingency

    a, b = [30, 10, 0, 5], [12, 22, 0, 3]
    statistic, degrees = chi_square(a, b)
    table = np.array([a, b])[:, [0, 1, 3]]
    assert statistic == pytest.approx(chi2_contingency(table, correction=False).statistic)
    assert degrees == 2
    assert chi_square_tail(5.991, 2) == pytest.approx(0.05, abs=1e-4)
    assert chi_square([0, 0], b[:2]) == (0.0, 0)


@pytest.mark.parametrize("flags", [{}, {"never_decline": True}, {"never_online": True}])
def test_levels_of_scores(flags: dict[str, Any]) -> None:
    scores = world()["scores"]
    decision = Decision(
        (), (), int(np.quantile(scores, 0.99)), int(np.quantile(scores, 0.999)), **flags
    )
    section = levels_section(scores, decision)
    section.check(decision)
    rates = [alert_rate(scores, *pair, decision) for pair in section.thresholds]
    assert len(rates) == 5
    assert section.usual == 2
    for more, less in itertools.pairwise(rates):
        assert 1.3 < more / less < 1.8
    assert section.target_q24 == round(rates[2] * 2**24)
    assert LevelsSection.decode(section.encode()) == section


def test_a_threshold_that_is_never_passed_stays() -> None:
    scores = world()["scores"]
    decision = Decision((), (), int(np.quantile(scores, 0.99)), NEVER_Q32, never_decline=True)
    section = levels_section(scores, decision, budget=0.02, span=1)
    assert {decline for _, decline in section.thresholds} == {NEVER_Q32}
    assert section.target_q24 == round(0.02 * 2**24)


@pytest.mark.parametrize(
    "call",
    [
        lambda s: levels_section(s[:0], Decision((), ())),
        lambda s: levels_section(s[:50], Decision((), (), int(s[:50].max()))),
        lambda s: levels_section(s, Decision((), ())),
        lambda s: levels_section(s, Decision((), (), 1 << 20), span=4),
    ],
)
def test_levels_that_cannot_be_made(call: Callable[[Any], object]) -> None:
    with pytest.raises(InputError, match="levels"):
        call(world()["scores"])
