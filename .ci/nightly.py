# SPDX-License-Identifier: Apache-2.0
"""Run what takes too long for every change, and say how each stage ended and how long it took.

    python .ci/nightly.py [STAGE ...]        every stage if none is named

    gates      the shipped models trained again from their configurations, held to their gates
    handbook   what models/handbook ships as configurations, held to their gates; left out where the
               Handbook's transactions are not in TINYFIN_SHARED/data
    worlds     the default recipe against XGBoost, in five simulated worlds
    attacks    what an attacker can do to the reference model, in simulated towns
    candidates packs trained again against their parent, under the bounds of a release
    fleet      ninety days of a fleet: drift, a request, campaigns
    soak       a million events over two emulated terminals, with faults and restarts
    fuzz       every fuzz target for five minutes
    loaded     the tests with deadlines, ten times on a busy machine

Every stage is run, whatever became of those before it. Ends with 1 when any failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TINYFIN = [sys.executable, "-m", "tinyfin"]
HANDBOOK = (
    Path(os.environ.get("TINYFIN_SHARED", ROOT.parent / "shared"))
    / "data"
    / "handbook_2018-04-01_2018-08-14.parquet"
)
STAGE_DEADLINE_S = 4 * 3600
FUZZ_S = 300


class LeftOut(Exception):
    """A stage has nothing to run on here."""


def main() -> int:
    stages: dict[str, Callable[[], Iterator[list[str]]]] = {
        "gates": gates,
        "handbook": handbook,
        "worlds": worlds,
        "attacks": lambda: make("attacks"),
        "candidates": candidates,
        "fleet": lambda: make("fleet-demo"),
        "soak": lambda: make("soak"),
        "fuzz": lambda: make("fuzz", f"FUZZ_SECONDS={FUZZ_S}"),
        "loaded": lambda: make("test-loaded"),
    }
    names = sys.argv[1:] or list(stages)
    if unknown := [name for name in names if name not in stages]:
        print(f"error: no stage {', '.join(unknown)}; there are {', '.join(stages)}")
        return 2
    with tempfile.TemporaryDirectory(prefix="tinyfin-") as folder:
        (Path(folder) / "models").symlink_to(ROOT / "models")
        results = [f"{name:<10} {run(stages[name](), folder)}" for name in names]
    print("\n".join(["", *results]))
    return int(any("failed" in result for result in results))


def run(commands: Iterator[list[str]], folder: str) -> str:
    """What became of ``commands``, the rest of which is left out after one that fails."""
    start = time.monotonic()
    try:
        for command in commands:
            print("+", " ".join(command), flush=True)
            left_s = STAGE_DEADLINE_S - (time.monotonic() - start)
            code = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, timeout=left_s
            ).returncode
            if code:
                return f"failed with {code} after {time.monotonic() - start:.0f} s"
    except subprocess.TimeoutExpired:
        return f"failed: not done after {STAGE_DEADLINE_S // 3600} h"
    except LeftOut as error:
        return f"left out: {error}"
    return f"passed in {time.monotonic() - start:.0f} s"


def make(*goal: str) -> Iterator[list[str]]:
    yield ["make", "-C", str(ROOT), *goal]


def gates() -> Iterator[list[str]]:
    """The commands at the top of each ``tinyfin.toml``, then the evaluation."""
    for gate in sorted((ROOT / "models").glob("*/gate.toml")):
        if not gate.with_name("model.tfpack").is_file():
            continue  # its data is not ours to ship
        lines = gate.with_name("tinyfin.toml").read_text().splitlines()
        written = [today(line.split()[2:]) for line in lines if line.startswith("#   tinyfin ")]
        making = [words for words in written if words[0] != "evaluate"]
        yield from ([*TINYFIN, *words] for words in making)
        yield [
            *TINYFIN,
            "evaluate",
            making[-1][1],
            "--protocol",
            "holdout",
            "--seeds",
            "1",
            "--gate",
            str(gate),
        ]


def today(words: list[str]) -> list[str]:
    """A command of 0.1 as it is called now: the packs name their configurations by their bytes, so
    these stay."""
    if words[-4:-2] != ["--as-host", "card"]:
        return words
    return ["host-fields", *words[1:-4], *words[-2:]]


def handbook() -> Iterator[list[str]]:
    """The configurations of models/handbook that have a gate."""
    if not HANDBOOK.is_file():
        raise LeftOut(f"there is no {HANDBOOK}")
    folder = ROOT / "models" / "handbook"
    for name, config, gate in (
        ("handbook", "tinyfin.toml", "gate.toml"),
        ("handbook_small", "small.toml", "small.gate.toml"),
    ):
        config, gate = str(folder / config), str(folder / gate)
        yield [*TINYFIN, "train", str(HANDBOOK), "--config", config, "--name", name]
        yield [*TINYFIN, "evaluate", f"runs/{name}", "--seeds", "1", "--gate", gate]


def worlds() -> Iterator[list[str]]:
    """A table to look at; no figure fails it."""
    yield [sys.executable, str(ROOT / "benchmarks" / "worlds.py"), "--out", "worlds"]


def candidates() -> Iterator[list[str]]:
    """Tables to look at; no figure fails them."""
    yield [sys.executable, str(ROOT / "benchmarks" / "candidates.py"), "--out", "candidates"]


if __name__ == "__main__":
    sys.exit(main())
