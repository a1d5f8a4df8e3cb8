# SPDX-License-Identifier: Apache-2.0
"""What a pack with another feature program misses in its first days, by where its state began.

    python -m benchmarks.activation

The reference pack becomes active on the 30th day in eight simulated towns that it was not trained
on: with a cold state, with the state of a shadow that began some days before, and with the state of
all 30 days. Prints, of the days after it, average precision and alerts.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tinyfin import config, paths, simulator
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.training.metrics import average_precision
from tinyfin.twin import Twin

TOWNS, TERMINALS, ACTIVE, DAYS = range(101, 109), 60, 30, 14
BEGAN = (0, 3, 7, 14, 30)
"""Days before the activation."""
_DAY_S = 86_400


def town(seed: int) -> Transactions:
    """Transactions of ``TERMINALS`` terminals in all the days that are needed."""
    how = {"terminals": TERMINALS, "days": ACTIVE + DAYS, "seed": seed}
    settings = config.load(None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        simulator.write(simulator.simulate(settings.simulate.model_copy(update=how)), path)
        return read(path, settings)


def main() -> None:
    pack = (paths.project_dir() / "models" / "payment" / "model.tfpack").read_bytes()
    rows: dict[tuple[int, int], list[tuple[object, object, object]]] = {}
    for seed in TOWNS:
        tx = town(seed)
        day = (tx.t_mono_s - tx.t_mono_s.min()) // _DAY_S
        for began in BEGAN:
            seen = tx.take(day >= ACTIVE - began)
            found = Twin(pack, terminals=len(tx.terminals)).run(seen, event_stream(seen, "both"))
            since = day[day >= ACTIVE - began] - ACTIVE
            for until in (2, DAYS):
                own = (since >= 0) & (since < until)
                part = (seen.label[own] == 1, found.raw[own], found.action[own] > 0)
                rows.setdefault((began, until), []).append(part)
    print("state began  days  transactions  frauds  average precision  alerts  of them right")
    for (began, until), parts in rows.items():
        fraud, raw, alert = (np.concatenate(column) for column in zip(*parts, strict=True))
        hits = Counter(fraud[alert].tolist())
        print(
            f"{began:11}  {until:4}  {len(raw):12}  {fraud.sum():6}  "
            f"{average_precision(raw, fraud):17.3f}  {alert.sum():6}  {hits[True]:13}"
        )


if __name__ == "__main__":
    main()
