# SPDX-License-Identifier: Apache-2.0
"""What each part of the recipe of ``models/handbook`` is worth, part by part.

    python -m benchmarks.ablation handbook.parquet [--rows odds] [--weeks 2018-08-08] [--out DIR]

Each row of the table is a configuration: ``models/handbook/tinyfin.toml`` with other names,
capacities or family, and without learned baselines. For each week it is written to
``ROW-WEEK.toml``, trained on what was known when the week began, and quantized, by the commands
that are printed; the week is the test. The first five rows add one part each; the last one is
``models/handbook`` itself.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.worlds import ROOT, both, tinyfin
from tinyfin.results.metrics import Metrics
from tinyfin.training.run_folder import RunFolder

BASE = ROOT / "models" / "handbook" / "tinyfin.toml"
WEEKS = (dt.date(2018, 7, 25), dt.date(2018, 8, 8))


class Row(NamedTuple):
    """A configuration, and which parts it has."""

    what: str
    odds: bool = True
    sums: bool = True
    capacities: bool = True
    student: bool = True


ROWS: Mapping[str, Row] = {
    "stream": Row("`stream`, usual capacities, `mlp`", False, False, False, False),
    "odds": Row("+ odds of compromised terminals", True, False, False, False),
    "sums": Row("+ sums of expected frauds", True, True, False, False),
    "capacities": Row("+ memory for all that is looked back on", True, True, True, False),
    "student": Row("+ `distilled`"),
    "handbook": Row("- sums: `models/handbook`", sums=False),
}
ODDS = '"event_odds", "compromised_odds", "compromised_ever_odds", "fraud_odds"'
SUMS = '"expected_frauds_1h", "expected_frauds_1d", "card_expected_frauds_7d"'


def configuration(row: Row, week: dt.date, base: str) -> str:
    """The text of a row's tinyfin.toml, with a test of one week."""
    names = ", ".join(['"stream"', *[ODDS] * row.odds, *[SUMS] * row.sums])
    text = re.sub(r"^names = .*$", f"names = [{names}]", base, count=1, flags=re.M)
    until = f'until = "{week}"\ntest_until = "{week + dt.timedelta(7)}"'
    text = re.sub(r"^until = .*$", until, text, count=1, flags=re.M)
    if not row.capacities:
        text = re.sub(r"^(terminal_labels|card_\w+) = .*\n", "", text, flags=re.M)
    if not row.student:
        text = text.replace('family = "distilled"', 'family = "mlp"')
    return f"{text}baselines = []\n"


HEAD = ("| | state, bytes | int8, known cards removed / all cards |", "|---|---|---|")


def judged(name: str, data: Path, folder: Path, weeks: Sequence[dt.date]) -> str:
    """Train and quantize in ``folder``, week by week; a row of the table."""
    runs = []
    for week in weeks:
        run = f"{name}-{week}"
        (folder / f"{run}.toml").write_text(configuration(ROWS[name], week, BASE.read_text()))
        shutil.rmtree(folder / "runs" / run, ignore_errors=True)
        train = ["train", str(data), "--config", f"{run}.toml", "--name", run]
        tinyfin(folder, train, ["quantize", f"runs/{run}"])
        runs.append(RunFolder(folder / "runs" / run))
    found = [run.read(Metrics).populations for run in runs]
    mean = both(lambda p: float(np.mean([of[p]["model_int8"].average_precision for of in found])))
    state_bytes = max(run.facts().features.state_bytes for run in runs)
    return f"| {ROWS[name].what} | {state_bytes:,} | {mean} |"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation")
    parser.add_argument("data", type=Path, help="the Handbook's transactions, one Parquet file")
    parser.add_argument("--rows", nargs="+", metavar="ROW", default=list(ROWS))
    parser.add_argument("--weeks", nargs="+", type=dt.date.fromisoformat, default=WEEKS)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "ablation")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if not asked.data.is_file():
        parser.error(f"{asked.data}: there is no such file; give the Handbook's transactions")
    asked.out.mkdir(parents=True, exist_ok=True)
    data = asked.data.resolve()
    rows = [judged(name, data, asked.out, asked.weeks) for name in asked.rows]
    print("\n".join(["", *HEAD, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
