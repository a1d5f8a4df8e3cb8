# SPDX-License-Identifier: Apache-2.0
"""Simulated towns whose terminals report what their monitors count, in a lake."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.terminal_drift import WARM_DAYS, town
from benchmarks.terminal_reports import Reading, reports
from tests.support import fleet as bench
from tinyfin import paths
from tinyfin.data.events import event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.fleet.lake import Lake
from tinyfin.pack.container import Pack, open_pack, sign_again
from tinyfin.pack.drift_making import drift_section
from tinyfin.pack.sections import encode_json
from tinyfin.twin import Replay, Twin

__all__ = ["fill", "pack_of", "readings", "scored", "town"]

DAY_S = 86_400


def scored(pack: Pack, tx: Transactions) -> Replay:
    """What the pack says of a town."""
    return Twin(pack.data, terminals=len(tx.terminals)).run(tx, event_stream(tx, "both"))


def pack_of(tx: Transactions, path: Path) -> Pack:
    """The reference pack as a release would make it of a town: DRFT, and mean scores by bin."""
    pack = open_pack(paths.project_dir() / "models" / "payment" / "model.tfpack")
    found = scored(pack, tx)
    late = tx.t_mono_s >= tx.t_mono_s.min() + WARM_DAYS * DAY_S
    kept = late & (tx.label != 1)
    assert pack.decision is not None
    drift = drift_section(
        found.features[kept],
        found.score_q32[kept],
        tx.terminal[kept],
        tx.t_mono_s[kept],
        most_bytes=80,
        score_edges=[pack.decision.go_online_q32],
    )
    rows, means = [], []
    edges = [-1, *drift.score.edges, 1 << 32]
    for low, high in pairwise(edges):
        of = [int(x) for x in found.score_q32[late] if low <= x < high]
        rows.append(len(of))
        means.append(round(sum(of) / max(len(of), 1)))
    score_bins = {"rows": rows, "mean_q32": means}
    line = {**pack.lineage, "until": "2025-01-01T00:00:00", "score_bins": score_bins}
    sections = {**pack.sections, "DRFT": drift.encode(), "LINE": encode_json(line)}
    path.write_bytes(sign_again(pack, None, sections=sections))
    return open_pack(path)


def readings(pack: Pack, tx: Transactions) -> Iterator[Reading]:
    """A report of each terminal in the last hour of each day; every third terminal restarts each
    month, and keeps what it counted."""
    twin = Twin(pack.data, terminals=len(tx.terminals), monitor=True)
    stream = event_stream(tx, "both")
    day = stream.t_mono_s.astype(np.int64) // DAY_S
    for number, one in enumerate(range(int(day.min()), int(day.max()) + 1), 1):
        twin.run(tx, stream.part(day == one))
        for which in range(len(tx.terminals)):
            yield Reading(
                bench.terminal(which),
                boot_nonce=100 * which + (number // 30 if which % 3 == 0 else 0),
                number=number,
                t_s=(one + 1) * DAY_S - 1800,
                counters=(number,) * 15,
                monitor=bytes(twin.monitor(which)),
            )


def fill(lake: Lake, path: Path, tx: Transactions) -> int:
    """Merge the reports of a town whose terminals run the pack at ``path``."""
    made = list(reports(path, bench.FLEET, readings(open_pack(path), tx)))
    taken = bench.take(lake, bench.tar(*made))
    assert not taken.refused
    return taken.reports
