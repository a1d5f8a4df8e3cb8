# SPDX-License-Identifier: Apache-2.0
"""How soon the counts of a terminal show that its world has changed, and how often they say so
where it has not: the figures of docs/monitoring.md.

    python -m benchmarks.terminal_drift

A section DRFT of 100 bytes is made of one town's genuine events, signed into the reference pack,
and counted by the twin in other towns. Every week each terminal is compared with its own past.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tinyfin import config, paths, simulator
from tinyfin.config.sections import Simulate
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.pack.container import Pack, open_pack, sign_again
from tinyfin.pack.drift_making import SMALL_BYTES, drift_section
from tinyfin.pack.monitor_image import MonitorCounts, read_monitor
from tinyfin.simulator.attacks import attacks
from tinyfin.simulator.world import DAY
from tinyfin.training.terminal_drift import against_past, last_window
from tinyfin.twin import Twin

__all__ = ["Found", "judge", "main", "monitored_pack", "readings", "town"]

FIRST_DAY = date(2025, 1, 6)
"""Of [simulate], where no other is given."""
WINDOW = 500
WARM_DAYS = 25
NO_ATTACKS = dict.fromkeys(attacks(), 0.0)


def town(seed: int, terminals: int, days: int, **more: Any) -> Transactions:
    """A simulated town; ``more``: keys of [simulate]."""
    given = {"terminals": terminals, "days": days, "seed": seed, **more}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "town.parquet"
        simulator.write(simulator.simulate(Simulate.model_validate(given)), path)
        return read(path, config.load(None))


def monitored_pack(tx: Transactions) -> Pack:
    """The reference pack with DRFT of the genuine events after the first weeks."""
    pack = open_pack(paths.project_dir() / "models" / "payment" / "model.tfpack")
    found = Twin(pack.data, terminals=len(tx.terminals)).run(tx, event_stream(tx, "both"))
    kept = (tx.t_mono_s >= tx.t_mono_s.min() + WARM_DAYS * DAY) & (tx.label != 1)
    drift = drift_section(
        found.features[kept],
        found.score_q32[kept],
        tx.terminal[kept],
        tx.t_mono_s[kept],
        most_bytes=SMALL_BYTES,
        window=WINDOW,
    )
    return open_pack(sign_again(pack, None, sections={**pack.sections, "DRFT": drift.encode()}))


def readings(pack: Pack, tx: Transactions, every_days: int = 7) -> list[list[MonitorCounts]]:
    """What the monitor of each terminal has counted at the end of each week."""
    twin = Twin(pack.data, terminals=len(tx.terminals), monitor=True)
    stream = event_stream(tx, "both")
    week = (stream.t_mono_s.astype(np.int64) - int(tx.t_mono_s.min())) // (every_days * DAY)
    found: list[list[MonitorCounts]] = [[] for _ in tx.terminals]
    for one in range(int(week.max()) + 1):
        twin.run(tx, stream.part(week == one))
        for terminal, of in enumerate(found):
            of.append(read_monitor(twin.monitor(terminal), pack.drift))
    return found


@dataclass
class Found:
    """Comparisons of terminals with their own past."""

    comparisons: int
    """Of a terminal in a week, all its histograms together."""
    alarms: int
    alarmed: int
    """Terminals with an alarm."""
    compared: int
    """Terminals that had events enough for a comparison."""
    events_until: list[int]
    """Of each terminal that alarmed, events counted from the change to the reading that raised
    it."""

    def __str__(self) -> str:
        text = (
            f"{self.comparisons} comparisons, {self.alarms} alarms; "
            f"{self.alarmed} of {self.compared} terminals"
        )
        if self.events_until:
            half, most = np.percentile(self.events_until, (50, 90), method="higher")
            text += f", after {half} events (median), {most} (90 %)"
        return text


def judge(
    pack: Pack, of: Sequence[Sequence[MonitorCounts]], changed_week: int | None = None
) -> Found:
    """Each terminal at each week's reading; from ``changed_week`` on, if there is a change."""
    assert pack.drift is not None
    found = Found(0, 0, 0, 0, [])
    for terminal in of:
        results = []
        for week in range(changed_week or 0, len(terminal)):
            compared = against_past(pack.drift, *last_window(terminal[: week + 1], WINDOW))
            if compared:
                results.append((week, any(c.drifted for c in compared)))
        raised = [week for week, drifted in results if drifted]
        found.comparisons += len(results)
        found.alarms += len(raised)
        found.alarmed += bool(raised)
        found.compared += bool(results)
        if raised and changed_week is not None:
            before = terminal[changed_week - 1].events
            found.events_until.append(terminal[raised[0]].events - before)
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--terminals", type=int, default=120)
    parser.add_argument("--days", type=int, default=119)
    asked = parser.parse_args()
    size = (asked.terminals, asked.days)
    pack = monitored_pack(town(1, *size))
    assert pack.drift is not None
    print(
        f"DRFT: {pack.drift.device_bytes} bytes in a terminal, inflation "
        f"{pack.drift.score.inflation_q8 / 256:.1f} of the score, "
        + ", ".join(f"{h.inflation_q8 / 256:.1f}" for h in pack.drift.features)
        + " of features"
    )
    week = asked.days // 14
    start = (FIRST_DAY + timedelta(weeks=week)).isoformat()
    towns: list[tuple[str, dict[str, Any], int | None]] = [
        ("nothing changes", {"attacks": NO_ATTACKS}, None),
        ("the usual frauds", {}, None),
    ]
    for factor in (1.25, 1.5, 2.0):
        season = {"start": start, "amounts": factor}
        towns.append((f"amounts x {factor}", {"attacks": NO_ATTACKS, "seasons": [season]}, week))
    testing: dict[str, Any] = {
        "attacks": {**NO_ATTACKS, "card_testing": 20.0},
        "attacks_start": {"card_testing": start},
    }
    towns.append(("card testing x 20", testing, week))
    for name, more, change in towns:
        tx = town(7, *size, **more)
        print(f"{name}: {judge(pack, readings(pack, tx), change)}", flush=True)


if __name__ == "__main__":
    main()
