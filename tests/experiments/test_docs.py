# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/experiments.md, docs/hawkbit.md and of "Backups" in docs/fleet.md."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.support import fleet as bench
from tests.support import registries
from tests.support.cli import tinyfin
from tests.support.hawkbit import hawkbit
from tests.support.process import ROOT
from tinyfin.experiments.metrics import METRICS
from tinyfin.fleet.lake import Lake


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return [block.replace("\\\n", " ") for block in found]


def run(line: str, code: int | None = 0) -> str:
    name, *words = shlex.split(line, comments=True)
    if name == "cp":
        shutil.copy(*words)
        return ""
    assert name == "tinyfin"
    return tinyfin("", *words, code=code).output


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.chdir(tmp_path)
    lake = Lake.create(Path("lake"))
    bench.take(lake, *bench.fleet(4, 3))
    return lake


def test_experiments(lake: Lake) -> None:
    [plan], [script] = blocks("experiments.md", "toml"), blocks("experiments.md", "sh")
    Path("plan.toml").write_text(plan.replace('"frauds"', '"saturations"'))
    for name in ("first", "second"):
        Path("runs", name).mkdir(parents=True)
        shutil.copy(bench.PACK, Path("runs", name))
    ids = "".join(f"{bench.terminal(n).hex()},{n % 2}\n" for n in range(8))
    Path("terminals.csv").write_text(f"terminal,class\n{ids}")
    tinyfin("keygen me.key --kind person")
    assumed, with_lake, start, read = script.splitlines()
    assert "needs --lake" in run(assumed, 3)
    assert " terminals in each arm" in run(with_lake)
    Path("plan.toml").write_text(plan)
    assert run(assumed).split()[0] == assumed.partition("# ")[2].split()[0]
    assert "8 terminals" in run(start)
    assert "goes on until" in run(read, 3)


def test_each_metric_is_described() -> None:
    text = (ROOT / "docs" / "experiments.md").read_text("utf-8").split("## Metrics")[1]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(METRICS)


def test_backups(lake: Lake) -> None:
    registries.registry(Path("registry"))
    [script] = [block for block in blocks("fleet.md", "sh") if "fleet backup" in block]
    for line in script.splitlines():
        run(line)


@pytest.mark.live
def test_hawkbit(lake: Lake) -> None:
    [script] = blocks("hawkbit.md", "sh")
    Path("ids.txt").write_text(f"{bench.terminal(0).hex()}\n")
    Path("gateway.token").write_text("shared\n")
    tinyfin("keygen release.key")
    with hawkbit() as stub:
        stub.deploy(bench.terminal(0).hex(), "1", bench.PACK.read_bytes())
        line = script.replace("https://hawkbit.example.org", stub.url).replace("--follow", "")
        assert run(line) == "1 refused\n"  # a pack of the development key, for a release key
