# SPDX-License-Identifier: Apache-2.0
"""Reports of simulated terminals say what their slots and their probation are."""

from __future__ import annotations

import pytest

from benchmarks.terminal_reports import reports
from tests.support import fleet as bench
from tinyfin.errors import ToolError
from tinyfin.field.probation import parse_image
from tinyfin.field.report import Slots, parse_report
from tinyfin.oracle.probation import Bounds, Counts
from tinyfin.wire.slot_frames import Phase, Place, Reason

BOUNDS = Bounds(bytes(16), (1, 2, 3), (1, 2, 3), ((4, 4, 4, 999),))


def test_slots_and_probation_are_those_that_are_given() -> None:
    counts = Counts(BOUNDS, bytes(range(16)), 1)
    counts.shadow(2, True, -7, 3, 1)
    given = bench.reading(
        1,
        3,
        40,
        running=Place.FACTORY,
        places=Place.FACTORY | Place.SLOT_0 << 2 | Phase.SHADOW << 4,
        reason=Reason.REVERTED,
        active_tag=b"abcd",
        other_tag=b"wxyz",
        probation=counts.image(),
    )
    [plain, data] = reports(bench.PACK, bench.FLEET, [bench.reading(1, 3, 40), given])
    report = parse_report(data)
    places = Place.FACTORY | Place.SLOT_0 << 2 | Phase.SHADOW << 4
    expected = Slots(Place.FACTORY, places, Reason.REVERTED, b"abcd", b"wxyz", 0, 0, 0, 0)
    assert report.slots == expected
    assert report.probation == parse_image(counts.image())
    assert report.probation is not None
    assert (report.probation.events, report.probation.alerts) == (1, 1)
    assert parse_report(plain).probation is None
    assert report.counters == parse_report(plain).counters


def test_a_probation_of_another_size_is_refused() -> None:
    with pytest.raises(ToolError, match="a monitor or a probation is refused"):
        list(reports(bench.PACK, bench.FLEET, [bench.reading(1, 3, 40, probation=bytes(71))]))
