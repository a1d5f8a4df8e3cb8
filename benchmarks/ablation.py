# SPDX-License-Identifier: Apache-2.0
"""What each part of the recipe of ``models/handbook`` is worth, part by part.

    python -m benchmarks.ablation handbook.parquet [ROW ...] [--weeks 2018-08-08] [--seeds 1]

Each row of the table is a configuration: ``models/handbook/tinyfin.toml`` with other names,
capacities or family, and without learned baselines. It is written to ``DIR/ROW.toml``, and trained
and evaluated by the commands that are printed. The first five rows add one part each; the last one
is ``models/handbook`` itself.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.worlds import ROOT, both, tinyfin
from tinyfin.results.evaluation import Evaluation
from tinyfin.training.run_folder import RunFolder

BASE = ROOT / "models" / "handbook" / "tinyfin.toml"
WEEKS = "2018-07-25,2018-08-08"


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


def configuration(row: Row, base: str) -> str:
    """The text of a row's tinyfin.toml."""
    names = ", ".join(['"stream"', *[ODDS] * row.odds, *[SUMS] * row.sums])
    text = re.sub(r"^names = .*$", f"names = [{names}]", base, count=1, flags=re.M)
    if not row.capacities:
        text = re.sub(r"^(terminal_labels|card_\w+) = .*\n", "", text, flags=re.M)
    if not row.student:
        text = text.replace('family = "distilled"', 'family = "mlp"')
    return f"{text}baselines = []\n"


HEAD = ("| | state, bytes | int8, known cards removed / all cards |", "|---|---|---|")


def judged(name: str, data: Path, folder: Path, weeks: str, seeds: int) -> str:
    """Train and evaluate in ``folder``; a row of the table."""
    (folder / f"{name}.toml").write_text(configuration(ROWS[name], BASE.read_text()))
    shutil.rmtree(folder / "runs" / name, ignore_errors=True)
    tinyfin(
        folder,
        ["train", str(data), "--config", f"{name}.toml", "--name", name],
        ["evaluate", f"runs/{name}", "--weeks", weeks, "--seeds", str(seeds)],
    )
    run = RunFolder(folder / "runs" / name)
    means = run.read(Evaluation).means
    found = both(lambda population: means[population]["model_int8"].average_precision)
    return f"| {ROWS[name].what} | {run.facts().features.state_bytes:,} | {found} |"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation")
    parser.add_argument("data", type=Path, help="the Handbook's transactions, one Parquet file")
    parser.add_argument("--weeks", default=WEEKS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "ablation")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    asked = parser.parse_args(arguments)
    if unknown := set(asked.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if not asked.data.is_file():
        parser.error(f"{asked.data}: there is no such file; give the Handbook's transactions")
    asked.out.mkdir(parents=True, exist_ok=True)
    data = asked.data.resolve()
    rows = [judged(n, data, asked.out, asked.weeks, asked.seeds) for n in asked.rows or ROWS]
    print("\n".join(["", *HEAD, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
