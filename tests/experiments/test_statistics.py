# SPDX-License-Identifier: Apache-2.0
"""False findings, power and the number of terminals, against simulated fleets and scipy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tinyfin.errors import InputError
from tinyfin.experiments.statistics import (
    Arm,
    binary_variance,
    compare,
    power_of,
    terminals_per_arm,
)

Floats = npt.NDArray[np.float64]
RATE, ALPHA, FLEETS = 0.004, 0.05, 3000


def arm(draw: np.random.Generator, terminals: int, rate: float = RATE) -> Arm:
    """Terminals with their own rates and sizes: events of one are alike, as they come in bursts."""
    exposure = draw.integers(300, 3000, terminals).astype(np.float64)
    own = rate * draw.gamma(0.5, 2.0, terminals)
    return Arm(draw.poisson(own * exposure).astype(np.float64), exposure)


def naive_p(one: Arm, two: Arm) -> float:
    """As if all events were independent."""
    both = (one.count.sum() + two.count.sum()) / (one.exposure.sum() + two.exposure.sum())
    error = math.sqrt(both * (1 / one.exposure.sum() + 1 / two.exposure.sum()))
    return float(2 * stats.norm.sf(abs(two.rate - one.rate) / error))


def most_by_chance(share: float, count: int) -> float:
    """So many of ``count`` are exceeded once in 10,000 times, as a share."""
    return float(stats.binom.ppf(1 - 1e-4, count, share)) / count


def test_equal_arms_differ_as_often_as_alpha_says() -> None:
    """A/A, over many fleets. Events as independent ones are the control: they differ far more."""
    draw = np.random.default_rng(1)
    found, naive = 0, 0
    for _ in range(FLEETS):
        one, two = arm(draw, 60), arm(draw, 60)
        found += compare(one, two, ALPHA).p_value < ALPHA
        naive += naive_p(one, two) < ALPHA
    assert found / FLEETS <= most_by_chance(ALPHA, FLEETS)
    assert naive / FLEETS > 8 * ALPHA


def test_power_is_as_designed() -> None:
    """With so many terminals as the design says, a true difference is found as often as it says;
    with a quarter of them it is not."""
    draw = np.random.default_rng(2)
    pilot = arm(draw, 200_000)
    treated = arm(draw, 200_000, 1.5 * RATE)
    spread = (pilot.variance + treated.variance) / 2
    need = terminals_per_arm(spread, 0.5 * RATE, ALPHA, 0.8)
    assert 50 < need < 400
    runs = 600
    shares = []
    for size in (need, need // 4):
        pairs = [(arm(draw, size), arm(draw, size, 1.5 * RATE)) for _ in range(runs)]
        shares.append(np.mean([compare(*pair, ALPHA).p_value < ALPHA for pair in pairs]))
    spread_of_share = 4 * math.sqrt(0.8 * 0.2 / runs)
    assert abs(shares[0] - 0.8) < spread_of_share + 0.03  # counts are not normal
    assert shares[1] < 0.5


@pytest.mark.filterwarnings("ignore:Precision loss")
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(1, 900)), min_size=4, max_size=30, unique=True
    )
)
@settings(deadline=None)
def test_of_equal_exposures_it_is_welchs_test(rows: list[tuple[int, int]]) -> None:
    counts = np.array([y for y, _ in rows], np.float64)
    half = len(rows) // 2
    one, two = (Arm(part, np.full(len(part), 7.0)) for part in (counts[:half], counts[half:]))
    found = compare(one, two, ALPHA)
    if np.ptp(counts[:half]) + np.ptp(counts[half:]) == 0:
        assert found.p_value == (found.value == 0)
        return
    expected = stats.ttest_ind(two.count / 7, one.count / 7, equal_var=False)
    low, high = expected.confidence_interval(1 - ALPHA)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("rho", "events"), [(0.0, 500), (0.001, 2000), (0.05, 200)])
def test_the_number_of_terminals_is_that_of_donner_and_klar(rho: float, events: int) -> None:
    """Their formula has normal quantiles; they advise one terminal more for the t."""
    share, difference = 0.005, 0.001
    z = stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(0.8)
    formula = z**2 * 2 * share * (1 - share) * (1 + (events - 1) * rho) / (events * difference**2)
    need = terminals_per_arm(binary_variance(share, events, rho), difference, ALPHA, 0.8)
    assert formula < need < formula + 3


def test_the_power_of_a_t_test() -> None:
    """J. Cohen (1988), table 2.4.1: 64 in each group for half a standard deviation."""
    assert terminals_per_arm(1.0, 0.5, 0.05, 0.8) == 64
    assert power_of(0.5, math.sqrt(2 / 64), 126, 0.05) == pytest.approx(0.8015, abs=2e-4)
    for shift in range(5, 60):
        assert power_of(shift, 1.0, 22.0, 0.05) > 0.99


@pytest.mark.parametrize(
    "given", [(1.0, 0.0, 0.05, 0.8), (1.0, 1.0, 0.0, 0.8), (1.0, 1.0, 0.05, 1.0)]
)
def test_a_design_that_is_none(given: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="a design takes"):
        terminals_per_arm(*given)
    with pytest.raises(InputError, match="fewer than 2"):
        compare(Arm(np.ones(1), np.ones(1)), Arm(np.ones(3), np.ones(3)), 0.05)
