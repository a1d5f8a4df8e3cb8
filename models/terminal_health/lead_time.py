# SPDX-License-Identifier: Apache-2.0
"""How long before each failure the model said so.

    python models/terminal_health/lead_time.py runs/health health.parquet scores.parquet

Counts the failures whose last 72 hours lie in the test period, those of them that an alert (any
action but accept) preceded in those hours, and false alerts: with no failure in the next 72 hours.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

DAY_H, HORIZON_H = 24, 72


def lead_times(run: Path, data: Path, scores: Path) -> dict[str, dict[str, float]]:
    """Per kind of failure: failures, caught, caught a day or more before, median hours; and the
    false alerts per 1000 reports."""
    reports, told = pq.read_table(data), pq.read_table(scores)
    live = np.datetime64(json.loads((run / "run.json").read_text())["split"]["until"])
    time, known = reports["time"].to_numpy(), reports["label_time"].to_numpy()
    terminal = np.array(reports["terminal"].to_pylist())
    kind = np.array(reports["scenario"].to_pylist())
    label = reports["label"].to_numpy() == 1
    alert = np.array(told["action"].to_pylist()) != "accept"
    test = time >= live
    first: dict[tuple[str, np.datetime64], tuple[str, float]] = {}
    whole = (known - np.timedelta64(HORIZON_H, "h") >= live) & (known <= time.max())
    for i in np.flatnonzero(label & whole):
        key = (terminal[i], known[i])
        hours = (known[i] - time[i]) / np.timedelta64(1, "h") if alert[i] else -1.0
        first[key] = (kind[i], max(hours, first.get(key, ("", -1.0))[1]))
    found: dict[str, list[float]] = defaultdict(list)
    for name, hours in first.values():
        found[name].append(hours)
    table = {
        name: {
            "failures": len(hours),
            "caught": sum(h >= 0 for h in hours),
            "a_day_before": sum(h >= DAY_H for h in hours),
            "median_hours": float(np.median([h for h in hours if h >= 0] or [0.0])),
        }
        for name, hours in sorted(found.items())
    }
    false = 1000 * np.count_nonzero(alert & ~label & test) / max(1, np.count_nonzero(test))
    return {**table, "all": {"false_per_1000": round(float(false), 2)}}


def main() -> None:
    """Print the table."""
    table = lead_times(*map(Path, sys.argv[1:4]))
    for name, row in table.items():
        print(name, ", ".join(f"{word.replace('_', ' ')} {value:g}" for word, value in row.items()))


if __name__ == "__main__":
    main()
