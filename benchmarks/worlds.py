# SPDX-License-Identifier: Apache-2.0
"""Five simulated worlds, each with its own kind of fraud, and how well the defaults detect it.

    python -m benchmarks.worlds [--weeks 4] [--seeds 1] [--out DIR] [WORLD ...]

Each world is a file of transactions (amount, card, terminal, time; labels a week late). `tinyfin
train` and `evaluate` get a mapping of its columns and nothing else, so no option is tuned to a
world. The table compares the int8 pack with XGBoost on the same features, week by week, and with
the family `boosted` (`--families boosted`). The seed of a world is its name.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tinyfin.results.evaluation import Evaluation
from tinyfin.results.metrics import Population
from tinyfin.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """# SPDX-License-Identifier: Apache-2.0
[data]
time = {column = "t", format = "seconds", epoch = "2020-01-01"}
terminal = "terminal"
token = "card"
amount = {column = "amount", unit = "minor"}
label = "fraud"
label_delay = "7d"

[evaluate]
baselines = ["xgboost"]
"""
DAY_S = 86_400
DAYS, TERMINALS, CARDS, ROWS_A_DAY = 120, 250, 4_000, 2_500
DEADLINE_S = 2 * 3600

Ints = npt.NDArray[np.int64]


@dataclass
class World:
    """Ordinary business, to which one of WORLDS adds fraud; rows in order of time."""

    rng: np.random.Generator
    t_s: Ints = field(init=False)
    terminal: Ints = field(init=False)
    card: Ints = field(init=False)
    minor: Ints = field(init=False)
    fraud: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        rng = self.rng
        n = DAYS * ROWS_A_DAY
        day = np.sort(rng.integers(0, DAYS, n))
        hour = np.clip(rng.normal(14.0, 4.0, n), 0, 23.99)
        self.t_s = (day * DAY_S + hour * 3600).astype(np.int64)
        self.t_s.sort()
        busy = rng.gamma(1.5, size=TERMINALS)
        self.card = rng.integers(0, CARDS, n)
        usual = rng.choice(TERMINALS, (CARDS, 5), p=busy / busy.sum())
        elsewhere = rng.choice(TERMINALS, n, p=busy / busy.sum())
        self.terminal = np.where(
            rng.random(n) < 0.85, usual[self.card, rng.integers(0, 5, n)], elsewhere
        )
        level = (
            rng.normal(7.6, 0.5, CARDS)[self.card] + rng.normal(0, 0.4, TERMINALS)[self.terminal]
        )
        self.minor = np.exp(level + rng.normal(0, 0.5, n)).astype(np.int64) + 50
        self.fraud = np.zeros(n, np.bool_)

    def spans(
        self, per_day: float, days: Callable[[], float], of: int
    ) -> list[tuple[int, int, int]]:
        """Episodes at random times: of which card or terminal (0 to ``of`` - 1), first and last
        second."""
        count = int(self.rng.poisson(per_day * DAYS))
        begin = self.rng.integers(0, DAYS * DAY_S, count)
        whose = self.rng.integers(0, of, count)
        return [
            (int(w), int(b), int(b + days() * DAY_S)) for w, b in zip(whose, begin, strict=True)
        ]

    def rows(self, of: Ints, span: tuple[int, int, int], share: float) -> Ints:
        """A share of the rows of one span, not fraud yet."""
        whose, begin, end = span
        inside = np.flatnonzero(
            (of == whose) & (self.t_s >= begin) & (self.t_s < end) & ~self.fraud
        )
        return inside[self.rng.random(len(inside)) < share]


def short_compromises(w: World) -> None:
    """A terminal is compromised for 9 to 18 days; six of ten of its transactions are fraud. Its
    first label comes after a week."""
    for span in w.spans(0.15, lambda: float(w.rng.uniform(9, 18)), TERMINALS):
        w.fraud[w.rows(w.terminal, span, 0.6)] = True


def quiet_compromises(w: World) -> None:
    """A terminal is compromised for a month; one in eight of its transactions is fraud, and small:
    nothing in a transaction itself says so."""
    for span in w.spans(0.2, lambda: 30.0, TERMINALS):
        rows = w.rows(w.terminal, span, 0.125)
        w.minor[rows] = w.rng.integers(100, 1500, len(rows))
        w.fraud[rows] = True


def stolen_cards(w: World) -> None:
    """A card is stolen for two days: nearly all its transactions and up to four others, which get
    its number, are fraud, at three times their amounts."""
    for span in w.spans(2.0, lambda: 2.0, CARDS):
        rows = w.rows(w.card, span, 0.9)
        more = np.flatnonzero((w.t_s >= span[1]) & (w.t_s < span[2]))
        rows = np.unique(np.r_[rows, w.rng.choice(more, min(4, len(more)), replace=False)])
        w.card[rows] = span[0]
        w.minor[rows] *= 3
        w.fraud[rows] = True


def nights(w: World) -> None:
    """Fraud at night at few terminals, for round amounts; one label in thirty is wrong."""
    bad = w.rng.choice(TERMINALS, TERMINALS // 8, replace=False)
    rows = np.flatnonzero(np.isin(w.terminal, bad) & (w.rng.random(len(w.t_s)) < 0.012))
    w.t_s[rows] += ((w.rng.integers(0, 5, len(rows)) * 3600) - w.t_s[rows] % DAY_S) % DAY_S
    w.minor[rows] = w.rng.integers(5, 40, len(rows)) * 1000
    w.fraud[rows] = True
    swapped = w.rng.choice(rows, len(rows) // 30, replace=False)
    w.fraud[swapped] = False
    w.fraud[w.rng.integers(0, len(w.t_s), len(swapped))] = True


def new_crime(w: World) -> None:
    """Cards are stolen all the time; from day 70 on terminals are compromised for ten days; one
    fraud in five is never reported."""
    for span in w.spans(1.0, lambda: 3.0, CARDS):
        rows = w.rows(w.card, span, 0.8)
        w.minor[rows] *= 4
        w.fraud[rows] = True
    for whose, begin, end in w.spans(0.5, lambda: 10.0, TERMINALS):
        if begin > 70 * DAY_S:
            w.fraud[w.rows(w.terminal, (whose, begin, end), 0.4)] = True
    frauds = np.flatnonzero(w.fraud)
    w.fraud[w.rng.choice(frauds, len(frauds) // 5, replace=False)] = False


WORLDS: Mapping[str, Callable[[World], None]] = {
    rule.__name__: rule
    for rule in (short_compromises, quiet_compromises, stolen_cards, nights, new_crime)
}


def draw(name: str, path: Path) -> None:
    """Write the world ``name``; its seed is its name."""
    world = World(np.random.default_rng(zlib.crc32(name.encode())))
    WORLDS[name](world)
    order = np.argsort(world.t_s, kind="stable")
    columns: dict[str, npt.NDArray[np.generic]] = {
        "t": world.t_s,
        "terminal": world.terminal,
        "card": world.card,
        "amount": world.minor,
        "fraud": world.fraud.astype(np.int8),
    }
    pq.write_table(pa.table({key: pa.array(value[order]) for key, value in columns.items()}), path)


def judged(name: str, folder: Path, weeks: int, seeds: int) -> str:
    """Train and evaluate in ``folder``; a row of the table."""
    draw(name, folder / f"{name}.parquet")
    (folder / f"{name}.toml").write_text(CONFIG)
    shutil.rmtree(folder / "runs" / name, ignore_errors=True)
    train = ["train", f"{name}.parquet", "--config", f"{name}.toml", "--name", name]
    judge = ["evaluate", f"runs/{name}", "--weeks", str(weeks), "--seeds", str(seeds)]
    tinyfin(folder, train, [*judge, "--families", "boosted"])
    return row(name, folder / "runs" / name)


def tinyfin(folder: Path, *commands: Sequence[str]) -> None:
    """Run commands of `tinyfin` in ``folder``, one after the other."""
    for command in commands:
        print("+ tinyfin", *command, flush=True)
        subprocess.run(
            [sys.executable, "-m", "tinyfin", *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=DEADLINE_S,
            check=True,
        )


HEAD = (
    "| world | transactions | fraud, per 1,000 | int8 | XGBoost | int8 leads by | boosted, int8 |",
    "|---|---|---|---|---|---|---|",
)


def row(name: str, run: Path) -> str:
    """Mean average precision, known cards removed / all cards; the lead with those removed."""
    found = RunFolder(run).read(Evaluation)
    boosted = next(one for one in found.families if one.family == "boosted")

    low, high = found.intervals["known_cards_removed"]["xgboost"].int8_leads_by
    table = pq.read_table(run.parents[1] / f"{name}.parquet", columns=["fraud"])
    fraud = np.asarray(table.column("fraud").to_numpy())
    return (
        f"| {name.replace('_', ' ')} | {len(fraud):,} | {1000 * fraud.mean():.1f} "
        f"| {both(lambda p: found.means[p]['model_int8'].average_precision)} "
        f"| {both(lambda p: found.means[p]['xgboost'].average_precision)} "
        f"| {low:+.3f} to {high:+.3f} "
        f"| {both(lambda p: boosted.populations[p].model_int8.average_precision)} |"
    )


def both(of: Callable[[Population], float]) -> str:
    """A share with known cards removed / of all cards."""
    populations: tuple[Population, ...] = ("known_cards_removed", "all")
    return " / ".join(f"{of(p):.3f}".replace("0.", ".", 1) for p in populations)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds")
    parser.add_argument("--weeks", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "worlds")
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help=", ".join(WORLDS))
    asked = parser.parse_args(arguments)
    if unknown := set(asked.worlds) - set(WORLDS):
        parser.error(f"no world {', '.join(sorted(unknown))}; there are {', '.join(WORLDS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = [judged(name, asked.out, asked.weeks, asked.seeds) for name in asked.worlds or WORLDS]
    print("\n".join(["", *HEAD, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
