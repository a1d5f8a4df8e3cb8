# SPDX-License-Identifier: Apache-2.0
"""Two verbs that would write one name, verbs that are killed, and disks that are full."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import tinyfin
from tests.support.configs import QUICK
from tests.support.process import tinyfin_process
from tinyfin.pack.container import parse_pack
from tinyfin.training.run_folder import open_run

HOLD = """
import sys, time
from tinyfin.output_claims import claimed
with claimed(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""
UNLOCKED = """
import contextlib
from tinyfin import output_claims
output_claims.claimed = lambda path, **_: contextlib.nullcontext()
from tinyfin.cli import main
main(prog_name="tinyfin")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, configuration and a run. Read only."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "tinyfin.toml").write_text(QUICK + "seeds = 1\nweeks = 1\n")
    tinyfin("simulate", "--out", folder / "tx.parquet", "--terminals", 4, "--days", 30)
    tinyfin(
        f"train {folder}/tx.parquet --config {folder}/tinyfin.toml --name r --out {folder}/runs"
    )
    tinyfin("quantize", folder / "runs" / "r")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, which is the current folder."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture
def held() -> Iterator[Callable[[str], int]]:
    """Has another process hold a name; its process id."""
    holders = []

    def hold(name: str) -> int:
        holders.append(
            subprocess.Popen([sys.executable, "-c", HOLD, name], stdout=subprocess.PIPE, text=True)
        )
        assert holders[-1].stdout is not None
        assert holders[-1].stdout.readline() == "held\n"
        return holders[-1].pid

    yield hold
    for holder in holders:
        holder.kill()
        holder.communicate()


VERBS = {
    "simulate --out o.parquet": "o.parquet",
    "features tx.parquet --out o.parquet": "o.parquet",
    "host-fields tx.parquet --out o.parquet": "o.parquet",
    "convert tx.parquet --out o.parquet --public-hash": "o.parquet",
    "features tx.parquet --out o.parquet --skip-bad-rows bad.csv": "bad.csv",
    "train tx.parquet --config tinyfin.toml --name r2": "runs/r2",
    "train tx.parquet --config tinyfin.toml --name r2 --search": "runs/r2",
    "train tx.parquet --config tinyfin.toml --name r2 --skip-bad-rows bad.csv": "bad.csv",
    "demo --name d": "runs/d",
    "quantize runs/r": "runs/r",
    "quantize runs/r --model tx.keras --name r2": "runs/r2",
    "repack runs/r --per-1000 5": "runs/r",
    "sign runs/r": "runs/r",
    "evaluate runs/r tx.parquet": "runs/r",
    "evaluate runs/r tx.parquet --card card.md": "card.md",
    "score runs/r tx.parquet --out s.parquet": "s.parquet",
    "compare runs/r runs/r tx.parquet --changes c.csv": "c.csv",
    "codegen runs/r --out generated": "generated",
    "build runs/r --target cortex-m4": "runs/r",
    "flash runs/r --target cortex-m4": "runs/r/firmware/cortex-m4",
    "replay runs/r tx.parquet --target cortex-m4 --report r.html": "r.html",
    "state export runs/r tx.parquet --terminal T0000001 --out s.bin": "s.bin",
    "state erase s.bin --pack runs/r --token 1 --out s2.bin": "s2.bin",
    "state read --pack runs/r --target cortex-m4 --out s.bin": "s.bin",
    "keygen release.key": "release.key",
    "hil run --out results": "results",
    "hil run --junit junit.xml": "junit.xml",
}


@pytest.mark.parametrize("words", VERBS)
def test_the_second_verb_ends_at_once_and_says_who_holds_the_name(
    here: Path, held: Callable[[str], int], words: str
) -> None:
    name = Path(VERBS[words])
    name.parent.mkdir(parents=True, exist_ok=True)
    for given in ("s.bin", "tx.keras"):
        if given in words and given != str(name):
            Path(given).touch()
    before = tree(here)
    pid = held(str(name))
    done = tinyfin(words, code=3)
    assert f"{name}: process {pid} (" in done.output.replace("./", "")
    assert tree(here) == before


@pytest.mark.parametrize("locked", [True, False])
def test_of_two_trainings_of_one_name_one_wins(here: Path, locked: bool) -> None:
    program = ["-m", "tinyfin"] if locked else ["-c", UNLOCKED]
    line = "train tx.parquet --config tinyfin.toml --name both --quiet --seed"
    command = [sys.executable, *program, *line.split()]
    both = [
        subprocess.Popen([*command, seed], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for seed in ("5", "6")
    ]
    said = [process.communicate(timeout=240)[1].decode() for process in both]
    codes = [process.returncode for process in both]
    if not locked:  # the control: both say that all is well
        assert codes == [0, 0]
        return
    assert sorted(codes) == [0, 3], said
    winner = both[codes.index(0)]
    assert f"process {winner.pid} (" in said[codes.index(3)]
    assert "train, since" in said[codes.index(3)]
    seed = open_run("runs/both").read_json("run.json")["model"]["seed"]
    assert seed == (5, 6)[codes.index(0)]
    assert sorted(path.name for path in Path("runs").iterdir()) == ["both", "r"]


def test_killed_verbs_leave_the_old_run_or_the_new_one(here: Path) -> None:
    rng = random.Random(3)
    for number in range(3):
        name = Path("runs") / f"killed{number}"
        kill(rng.uniform(1.0, 4.0), f"train tx.parquet --config tinyfin.toml --name {name.name}")
        if name.exists():
            assert (open_run(name).path / "metrics.json").is_file()
    for budget in ("3", "50", "9", "70"):
        kill(rng.uniform(0.3, 1.2), f"repack runs/r --per-1000 {budget}")
        run = open_run("runs/r")
        told = run.read_json("metrics.json")["decision"]["go_online"]
        decision = parse_pack(run.pack_bytes()).decision
        assert decision is not None
        held = decision.go_online_q32 / 2**32
        assert told == pytest.approx(held, rel=1e-6)
    tinyfin("train", "tx.parquet", "--config", "tinyfin.toml", "--name", "killed9")


def kill(after_s: float, line: str) -> None:
    command, null = [sys.executable, "-m", "tinyfin", *line.split()], subprocess.DEVNULL
    with subprocess.Popen(command, stdout=null, stderr=null) as process:
        time.sleep(after_s)
        process.kill()


def test_no_verb_writes_into_a_file_of_the_old_run(here: Path, tmp_path: Path) -> None:
    """The copy that a verb changes shares its files with the old run by links."""
    kept = tmp_path / "kept"
    shutil.copytree("runs/r", kept, copy_function=os.link)
    before = tree(kept)
    tinyfin("quantize", "runs/r")
    tinyfin("repack", "runs/r", "--per-1000", "9")
    tinyfin("evaluate", "runs/r", "tx.parquet")
    tinyfin("evaluate", "runs/r", "tx.parquet", "--seeds", "2")
    assert tree(kept) == before
    # the control: who writes into a file is seen
    shutil.rmtree(kept)
    shutil.copytree("runs/r", kept, copy_function=os.link)
    before = tree(kept)
    (here / "runs" / "r" / "metrics.json").write_text("{}")
    assert tree(kept) != before


FULL = {
    "train tx.parquet --config tinyfin.toml --name r2": 20_000,
    "quantize runs/r": 2_000,
    "repack runs/r --per-1000 9": 2_000,
    "evaluate runs/r tx.parquet": 20_000,
    "score runs/r tx.parquet --out s.parquet": 2_000,
    "features tx.parquet --out f.csv": 20_000,
    "features tx.parquet --out f.parquet": 2_000,
    "host-fields tx.parquet --out f.parquet": 20_000,
    "simulate --out s.parquet --terminals 4": 20_000,
    "simulate --out s.csv --terminals 4": 20_000,
    "codegen runs/r --out generated": 2_000,
    "state export runs/r tx.parquet --terminal T0000001 --out s.bin": 200,
}


@pytest.mark.parametrize("words", FULL)
def test_a_full_disk_is_an_error_and_leaves_nothing(here: Path, words: str) -> None:
    """A limit on the size of files gives EFBIG where a full disk gives ENOSPC."""
    before = tree(here)
    limit = FULL[words]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = tinyfin_process(words, code=3, deadline_s=240, preexec_fn=limited)
    assert "cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    parts = [name for name in tree(here) if name.startswith("runs/r/evaluation/")]
    assert {k: v for k, v in tree(here).items() if k not in parts} == before
