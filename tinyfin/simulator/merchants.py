# SPDX-License-Identifier: Apache-2.0
"""Merchant profiles: when people come, what they pay, how their cards are read.

A profile is one entry of PROFILES. Hours and weekdays are weights; only their ratios matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PROFILES", "Profile"]


@dataclass(frozen=True)
class Profile:
    """The habits of one kind of merchant."""

    mcc: int
    per_day: float
    """Mean transactions per day of an average terminal."""
    hours: str
    """One digit per hour of the day, 0 closed."""
    week: tuple[float, ...]
    """Monday to Sunday."""
    median_minor: int
    sigma: float
    """Of the log-normal amounts."""
    step_minor: int
    """Amounts are multiples of this (price points)."""
    regulars: int
    regular_share: float
    """Share of transactions by regulars, who come by Zipf's law."""
    entry: tuple[float, ...]
    """contactless_chip, chip, contactless_stripe, stripe, fallback, keyed, credential_on_file."""
    decline: float = 0.035
    refund: float = 0.01
    preauth: float = 0.0
    cashback: float = 0.0
    round_share: float = 0.0
    """Share of amounts that the customer sets to a multiple of 5.00."""
    floor_limit_minor: int = 0
    outages_per_day: float = 0.04
    outage_minutes: float = 10.0
    operators: int = 3


PROFILES: Mapping[str, Profile] = {
    "cafe": Profile(
        5814,
        80,
        "000000159964799643210000",
        (1.0, 1.0, 1.0, 1.05, 1.15, 1.2, 0.8),
        520,
        0.55,
        10,
        260,
        0.62,
        (0.88, 0.095, 0.006, 0.006, 0.003, 0.005, 0.005),
        decline=0.022,
        refund=0.009,
        floor_limit_minor=3000,
    ),
    "grocery": Profile(
        5411,
        105,
        "000000024566667778987300",
        (0.95, 0.9, 0.95, 1.0, 1.3, 1.4, 0.5),
        2350,
        0.85,
        1,
        700,
        0.55,
        (0.70, 0.275, 0.004, 0.009, 0.004, 0.004, 0.004),
        decline=0.032,
        refund=0.014,
        cashback=0.03,
        floor_limit_minor=5000,
        operators=6,
    ),
    "fuel": Profile(
        5541,
        68,
        "112235788777778997654322",
        (1.0, 1.0, 1.0, 1.0, 1.25, 1.0, 0.8),
        4700,
        0.45,
        1,
        380,
        0.45,
        (0.52, 0.44, 0.006, 0.020, 0.008, 0.003, 0.003),
        decline=0.045,
        refund=0.008,
        round_share=0.3,
        floor_limit_minor=8000,
    ),
    "pharmacy": Profile(
        5912,
        45,
        "000000003798877799500000",
        (1.2, 1.0, 1.0, 1.0, 1.1, 0.8, 0.2),
        1650,
        0.75,
        5,
        330,
        0.5,
        (0.72, 0.25, 0.004, 0.011, 0.005, 0.006, 0.004),
        decline=0.03,
        refund=0.015,
        floor_limit_minor=5000,
    ),
    "restaurant": Profile(
        5812,
        36,
        "000000000002885125997400",
        (0.6, 0.75, 0.85, 1.0, 1.5, 1.6, 1.0),
        4200,
        0.6,
        50,
        180,
        0.3,
        (0.55, 0.405, 0.005, 0.016, 0.006, 0.014, 0.004),
        decline=0.035,
        refund=0.009,
        floor_limit_minor=0,
        operators=5,
    ),
    "kiosk": Profile(
        5994,
        62,
        "000003799655677899732100",
        (1.05, 1.0, 1.0, 1.0, 1.1, 0.9, 0.7),
        780,
        0.7,
        10,
        300,
        0.6,
        (0.86, 0.11, 0.008, 0.010, 0.003, 0.005, 0.004),
        decline=0.028,
        refund=0.009,
        floor_limit_minor=3000,
        operators=2,
    ),
    "market_stall": Profile(
        5499,
        34,
        "000000259998765320000000",
        (0.1, 0.5, 1.2, 0.6, 1.2, 2.6, 0.3),
        1250,
        0.65,
        50,
        150,
        0.5,
        (0.83, 0.13, 0.008, 0.017, 0.005, 0.007, 0.003),
        decline=0.03,
        refund=0.008,
        floor_limit_minor=4000,
        outages_per_day=0.9,
        outage_minutes=18.0,
        operators=1,
    ),
    "hotel": Profile(
        7011,
        16,
        "211112589983346899865432",
        (1.0, 0.9, 0.9, 1.0, 1.2, 1.3, 1.0),
        13500,
        0.7,
        100,
        30,
        0.1,
        (0.34, 0.475, 0.005, 0.020, 0.008, 0.062, 0.090),
        decline=0.055,
        refund=0.025,
        preauth=0.35,
        floor_limit_minor=0,
        operators=4,
    ),
}
