# SPDX-License-Identifier: Apache-2.0
"""Every long piece of work of a verb is a stage, so that none of it is silent."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
import pytest

from tests.support.cli import filled, leaves_of, tinyfin
from tests.support.process import need
from tinyfin.cli import VERBS, main
from tinyfin.progress import Screen, Stage

WORDS = {
    "train DATA --config CONFIG --name x --out OUT": [
        "reading",
        "hashing the files",
        "fingerprint",
        "rules",
        "features: through the engine",
        "input maps",
        "training mlp",
        "baseline logistic_regression",
        "writing slices.npz",
        "metrics",
        "pictures",
    ],
    "quantize RUN": [
        "converting to int8",
        "comparing with TFLM",
        "comparing with LiteRT",
        "metrics",
        "pictures",
    ],
    "evaluate RUN DATA --weeks 1": [
        "evaluating: reading",
        r"evaluating, week 1 of 1, .*: training mlp",
        r"week 1 of 1, .*: converting to int8",
        r"week 1 of 1, .*: verdicts of",
        "drawing the page",
    ],
    "score RUN DATA --out OUT/s.parquet": ["scoring"],
    "features DATA --config CONFIG --out OUT/f.parquet": ["features"],
    "simulate --out OUT/t.parquet --terminals 2 --days 9": [
        "simulating",
        "simulating attacks",
        "putting the transactions in order",
    ],
    "replay RUN DATA --target cortex-m4 --limit 40 --no-count": [
        "building for cortex-m4",
        "replaying on cortex-m4",
    ],
    "bench RUN/model.tflite --target cortex-m4 --inputs OUT/x.npy": [
        "building for cortex-m4",
        "inferring",
    ],
}


@pytest.mark.parametrize("words", WORDS)
def test_stages(
    small: dict[str, Path],
    run_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
) -> None:
    tool = "arm-none-eabi-gcc" if "cortex-m4" in words else "sh"
    need(tool)
    begun: list[str] = []
    honest = Screen.begin

    def begin(self: Screen, stage: Stage) -> None:
        begun.append(stage._where(stage.begun_s) + stage.what)
        honest(self, stage)

    monkeypatch.setattr(Screen, "begin", begin)
    monkeypatch.setenv("TINYFIN_CACHE", str(tmp_path / "cache"))
    width = len(np.load(run_copy / "slices.npz")["calibration"][0])
    np.save(tmp_path / "x.npy", np.zeros((3, width), np.int8))
    own = {"DATA": small["data"], "CONFIG": small["config"]}
    tinyfin(filled(words, **own, RUN=run_copy, OUT=tmp_path))
    for wanted in WORDS[words]:
        assert any(re.search(wanted, stage) for stage in begun), (wanted, begun)


@pytest.mark.parametrize("verb", [verb for verb, _, _ in VERBS])
def test_every_verb_can_be_quiet(verb: str) -> None:
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    for leaf in leaves_of(command):
        assert "--quiet" in [option for p in leaf.params for option in p.opts], leaf.name


def test_quiet_says_nothing_but_the_result(small: dict[str, Path], tmp_path: Path) -> None:
    line = f"features {small['data']} --config {small['config']} --out {tmp_path}"
    loud, quiet = tinyfin(f"{line}/a.parquet"), tinyfin(f"{line}/b.parquet --quiet")
    assert loud.stderr
    assert quiet.stderr == ""
    assert quiet.stdout.replace("b.parquet", "a.parquet") == loud.stdout
