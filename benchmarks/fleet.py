# SPDX-License-Identifier: Apache-2.0
"""How fast reports come into a lake, and whether it is the same one however they came: the figures
of docs/fleet.md.

    python -m benchmarks.fleet --reports 1000000

Terminals of a simulated town count with a monitor in the twin; the terminals' own C makes reports
of these counts. One lake gets each report once, in order. The other one, which is timed, gets each
one to five times, shuffled over 30 days, in tar files. Their bytes are compared.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.terminal_drift import monitored_pack, town
from benchmarks.terminal_reports import Reading, reports
from tinyfin.data.events import event_stream
from tinyfin.fleet import archives
from tinyfin.fleet.ingest import ingest
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.secrets import ReportKeys
from tinyfin.twin import Twin

__all__ = ["Figures", "main", "measure"]

_FLEET = bytes(range(32))
_FIRST_DAY, _DAYS = 9_700, 30
_TOWN, _TOWN_DAYS = 40, 40
_MEMBERS = 5_000
"""Reports of a tar."""


@dataclass(frozen=True)
class Figures:
    """What a run gave."""

    reports: int
    deliveries: int
    report_bytes: float
    """Of one, on average."""
    seconds: float
    """For the lake that got everything shuffled."""
    core_seconds: float
    """The same, of processor time: it says more on a machine that does other work, too."""
    lake_bytes: int
    equal: bool
    """Whether both lakes are the same bytes."""

    def __str__(self) -> str:
        return (
            f"{self.reports:,} reports of {self.report_bytes:.0f} bytes, delivered "
            f"{self.deliveries:,} times, shuffled over {_DAYS} days: {self.seconds:.0f} s, of one "
            f"core {self.core_seconds:.0f} s; lake of {self.lake_bytes / 1e6:.1f} MB, "
            f"{'the same bytes' if self.equal else 'OTHER BYTES'} as in order"
        )


def measure(count: int, folder: Path, seed: int = 1, counted: int = _TOWN) -> Figures:
    """``count`` reports, rounded up to whole days of all terminals, through two lakes; ``counted``:
    terminals of the town, whose monitors the others share."""
    draw = random.Random(seed)
    tx = town(1, counted, _TOWN_DAYS)
    pack = monitored_pack(tx)
    (folder / "model.tfpack").write_bytes(pack.data)
    twin = Twin(pack.data, terminals=counted, monitor=True)
    twin.run(tx, event_stream(tx, "both"))
    monitors = [bytes(twin.monitor(number)) for number in range(counted)]
    readings = _readings(-(-count // _DAYS), monitors, draw)
    made = list(reports(folder / "model.tfpack", _FLEET, readings))
    keys = ReportKeys(_FLEET)

    ordered = Lake.create(folder / "ordered", key=folder / "lake.key")
    _deliver(ordered, made)
    ingest(ordered, keys)
    shuffled = Lake.create(folder / "shuffled", key=folder / "lake.key")
    copies = [data for data in made for _ in range(draw.randint(1, 5))]
    draw.shuffle(copies)
    _deliver(shuffled, copies)
    begun, of_core = time.perf_counter(), time.process_time()
    ingest(shuffled, keys)
    seconds, core = time.perf_counter() - begun, time.process_time() - of_core
    one, other = _contents(ordered), _contents(shuffled)
    size = sum(map(len, other.values()))
    mean = sum(map(len, made)) / len(made)
    return Figures(len(made), len(copies), mean, seconds, core, size, one == other)


def _readings(terminals: int, monitors: list[bytes], draw: random.Random) -> Iterator[Reading]:
    """A report of each terminal and day; a third of the terminals restart in a night."""
    scored, boot, number = [0] * terminals, [0] * terminals, [0] * terminals
    for day in range(_DAYS):
        for which in range(terminals):
            if day == 0 or draw.random() < 0.3:
                boot[which], number[which] = draw.getrandbits(32), 0
            scored[which] += draw.randrange(20, 300)
            number[which] += 1
            seen = scored[which]
            counters = (seen, seen, seen // 900, seen // 50, 0, seen // 700, seen // 300, 0, 0, 9)
            yield Reading(
                (0xB000_0000_0000_0000 + which).to_bytes(8, "big"),
                boot[which],
                number[which],
                (_FIRST_DAY + day) * 86_400 + draw.randrange(86_400),
                (*counters, 1, 0, 0, 0, 0),
                monitor=monitors[which % len(monitors)],
            )


def _deliver(lake: Lake, made: list[bytes]) -> None:
    for at in range(0, len(made), _MEMBERS):
        part = enumerate(made[at : at + _MEMBERS])
        data = archives.packed((f"{index}.tfreport", one) for index, one in part)
        (lake.inbox / f"{at:09d}.tar").write_bytes(data)


def _contents(lake: Lake) -> dict[str, bytes]:
    parts = [lake.path / "manifest.json", *sorted((lake.path / "report").iterdir())]
    return {path.name: path.read_bytes() for path in parts}


def main() -> None:
    """Print the figures; exit code 4 when the lakes differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(asked.reports, Path(folder))
    print(found)
    sys.exit(0 if found.equal else 4)


if __name__ == "__main__":
    main()
