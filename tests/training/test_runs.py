# SPDX-License-Identifier: Apache-2.0
"""``tinyfin runs`` lists what is there, with the figures of the runs' own files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result

from tests.support.cli import tinyfin
from tinyfin.training.run_folder import open_run


def runs(folder: Path, *more: str, code: int = 0) -> Result:
    return tinyfin(f"runs --out {folder}", *more, code=code)


@pytest.fixture
def folder(small: dict[str, Path], tmp_path: Path) -> Path:
    """A quantized run, one without a pack, one that is damaged, and what is no run."""
    for name in ("good", "float", "damaged"):
        shutil.copytree(small["run"], tmp_path / name)
    (tmp_path / "float" / "model.tfpack").unlink()
    metrics = open_run(tmp_path / "float").read_json("metrics.json")
    for scorers in metrics["populations"].values():
        del scorers["model_int8"]
    (tmp_path / "float" / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "damaged" / "run.json").write_text('{"model": ')
    (tmp_path / "notes").mkdir()
    (tmp_path / "a file").write_text("")
    return tmp_path


def test_runs_are_listed_with_their_figures(folder: Path) -> None:
    found = {one["run"]: one for one in json.loads(runs(folder, "--json").stdout)["runs"]}
    assert set(found) == {"good", "float", "damaged"}
    metrics = open_run(folder / "good").read_json("metrics.json")["populations"]["all"]
    good = found["good"]
    assert good["average_precision"] == metrics["model_int8"]["average_precision"]
    assert good["calibration_error"] == metrics["model_int8"]["calibration_error"]
    assert good["pack_bytes"] == (folder / "good" / "model.tfpack").stat().st_size
    assert (good["family"], good["data"]) == ("mlp", ["small.parquet"])
    assert found["float"]["model"] == "model_float"
    assert found["float"]["pack_bytes"] is None
    assert "run.json" in found["damaged"]["error"]


def test_the_table_has_a_row_for_each(folder: Path) -> None:
    head, *rows = runs(folder).stdout.splitlines()
    assert head.split() == [
        "run",
        "family",
        "data",
        "rows",
        "frauds",
        "model",
        "AP",
        "ECE",
        "pack",
        "bytes",
    ]
    assert [row.split()[0] for row in rows] == ["float", "good", "damaged:"]
    assert rows[0].split()[-1] == "-"


def test_a_run_of_an_older_version_has_gaps(folder: Path) -> None:
    (folder / "good" / "run.json").write_text("{}")
    (folder / "good" / "metrics.json").unlink()
    row = next(line for line in runs(folder).stdout.splitlines() if line.startswith("good"))
    assert row.split()[1:8] == ["-"] * 7


def test_no_folder_and_no_runs(tmp_path: Path) -> None:
    assert "there is no such folder; `tinyfin train`" in runs(tmp_path / "none", code=3).output
    assert "holds no run" in runs(tmp_path).output
