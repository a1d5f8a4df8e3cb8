# SPDX-License-Identifier: Apache-2.0
"""What a verb will need late is asked for early: before a row is read or a file is compiled."""

from __future__ import annotations

import importlib.util
import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli import filled, tinyfin
from tests.support.process import tinyfin_process
from tinyfin import files
from tinyfin.data import readers
from tinyfin.optional_packages import install_command
from tinyfin.targets import build as building

LABELLED = "terminal,time,amount,label\nT1,2024-01-01T10:00:00,100,0\n"
TIMELY = """
[data]
terminal = "terminal"
time = {column = "time", format = "iso"}
amount = {column = "amount", unit = "minor"}
"""


def refusal(line: str, *words: str, code: int = 3) -> str:
    """What a verb says that ends with ``code``, on one line."""
    return " ".join(tinyfin(line, *words, code=code).output.split())


class WorkError(AssertionError):
    """The work has begun."""


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a row or compiling a file fails the test."""

    def begun(*_: object, **__: object) -> None:
        raise WorkError

    # imported before anything is replaced: they keep what they import
    from tinyfin import simulator
    from tinyfin.training import export_features, scoring

    for name in ("read", "survey", "read_chunks"):
        monkeypatch.setattr(readers, name, begun)
    for module in (export_features, scoring):
        for name in ("survey", "read_chunks"):
            monkeypatch.setattr(module, name, begun)
    monkeypatch.setattr(simulator, "simulate", begun)
    monkeypatch.setattr(building, "build", begun)


@pytest.mark.parametrize(
    ("verb", "package"),
    [
        ("train", "xgboost"),
        ("train", "tensorflow"),
        ("train", "sklearn"),
        ("train --search", "tflite_micro"),
        ("evaluate", "tflite"),
        ("evaluate", "xgboost"),
        ("evaluate --families", "sklearn"),
        ("demo", "tensorflow"),
        ("demo", "tflite_micro"),
    ],
)
@pytest.mark.usefixtures("idle")
def test_packages(
    small: dict[str, Path],
    run_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    package: str,
) -> None:
    for config in (tmp_path / "tinyfin.toml", run_copy / "config.toml"):
        text = small["config"].read_text().replace('"logistic_regression"', '"xgboost"')
        config.write_text(text)
    honest = importlib.util.find_spec

    def without(name: str, *rest: str) -> ModuleSpec | None:
        return None if name == package else honest(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    first, *options = verb.split()
    more = [*options, "forest"] if options == ["--families"] else options
    line = {**VERBS, "demo": "demo --name x --out OUT"}[first]
    own = {"DATA": small["data"], "CONFIG": tmp_path / "tinyfin.toml"}
    said = refusal(filled(line, **own, RUN=run_copy, OUT=tmp_path), *more, code=6)
    assert f"package {package} is not installed, needed for" in said
    assert install_command("train") in said
    assert not (tmp_path / "x").exists()


VERBS = {
    "train": "train DATA --config CONFIG --name x --out OUT",
    "search": "train DATA --config CONFIG --name x --out OUT --search",
    "evaluate": "evaluate RUN DATA",
    "score": "score RUN DATA --out OUT/s.parquet",
    "features": "features DATA --config CONFIG --out OUT/f.parquet",
    "simulate": "simulate --out OUT/s.parquet",
}


def line_of(words: str, small: dict[str, Path], run: Path, out: Path) -> str:
    return filled(words, DATA=small["data"], CONFIG=small["config"], RUN=run, OUT=out)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.usefixtures("idle")
def test_space(
    small: dict[str, Path],
    run_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    line = line_of(VERBS[verb], small, run_copy, out)
    with pytest.raises(WorkError):  # the control: with space the work begins
        tinyfin(line)
    monkeypatch.setattr(files, "_free", lambda path: 1000)
    said = refusal(line)
    assert "will need about" in said
    assert "1 kB are free there; free some space, or choose another path" in said


@pytest.mark.parametrize("verb", [verb for verb, words in VERBS.items() if "OUT" in words])
@pytest.mark.usefixtures("idle")
def test_folders(small: dict[str, Path], run_copy: Path, tmp_path: Path, verb: str) -> None:
    (tmp_path / "file").touch()
    said = refusal(line_of(VERBS[verb], small, run_copy, tmp_path / "file" / "in"))
    assert "cannot be written" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train DATA --config CONFIG --name x --out OUT", "family mlp trains on labels"),
        ("evaluate RUN DATA", "without labels nothing can be judged"),
        ("evaluate RUN DATA --families mlp", "family mlp trains on labels"),
        ("evaluate LABEL_FREE DATA", "without labels nothing can be judged"),
        (
            "evaluate RUN LABELLED --gate GATE",
            "needs scenario, and no column of the data is mapped",
        ),
    ],
)
@pytest.mark.usefixtures("idle")
def test_columns(
    small: dict[str, Path], run_copy: Path, tmp_path: Path, words: str, said: str
) -> None:
    labelled, data = tmp_path / "labelled.csv", tmp_path / "data.csv"
    labelled.write_text(LABELLED)
    data.write_text(LABELLED.replace(",label", "").replace(",0\n", "\n"))
    own = small["config"].read_text()
    config = tmp_path / "tinyfin.toml"
    config.write_text(own + TIMELY)
    mapped = own + TIMELY + ('label = "label"\n' if "LABELLED" in words else "")
    if "LABEL_FREE" in words:
        mapped = mapped.replace('"mlp"', '"density"')
    (run_copy / "config.toml").write_text(mapped)
    gate = tmp_path / "gate.toml"
    gate.write_text(
        '[gate]\n"means.all.model_int8.scenario_recall_at_0.1%.takeover.recall" = {min = 0.1}\n'
    )
    files = {"LABELLED": labelled, "DATA": data, "GATE": gate, "CONFIG": config}
    places = {"RUN": run_copy, "LABEL_FREE": run_copy, "OUT": tmp_path}
    assert said in refusal(filled(words, **files, **places))


@pytest.mark.parametrize(
    "words",
    [
        "train DATA --config CONFIG --name x --out OUT --search",
        "demo --name x --out OUT",
        "demo --name x --out OUT --data DATA",
        "bench RUN/model.tflite --target cortex-m4 --inputs OUT/x.npy",
        "flash RUN --target cortex-m4",
        "flash RUN --target stm32f405 --board",
    ],
)
@pytest.mark.usefixtures("idle")
def test_tools(
    small: dict[str, Path],
    run_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1), np.int8))
    monkeypatch.setenv("PATH", str(tmp_path))
    refusal(line_of(words, small, run_copy, tmp_path), code=6)
    assert not (tmp_path / "x").exists()


def test_a_rig_s_flash_tool_is_asked_for_before_the_build(
    small: dict[str, Path], tmp_path: Path
) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text(
        f'[rig]\nname = "r"\nrun = "{small["run"]}"\n[targets.board]\ntarget = "stm32f405"\n'
        'port = {url = "socket://127.0.0.1:9"}\nflash = ["no-such-flasher", "{elf}"]\n'
    )
    env = os.environ | {"TINYFIN_CACHE": str(tmp_path / "cache")}
    done = tinyfin_process(f"hil run --rig {rig} --out {tmp_path}/o", code=6, env=env)
    assert "no-such-flasher is not on PATH" in done.stdout + done.stderr
    assert not list((tmp_path / "cache").rglob("*.elf"))
