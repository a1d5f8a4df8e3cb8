# SPDX-License-Identifier: Apache-2.0
"""The rows of the ablation: each is a configuration that adds one part to the one before."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.ablation import BASE, ROWS, WEEKS, configuration, main
from tinyfin.config import Config, load


def rows(folder: Path) -> dict[str, Config]:
    out = {}
    for name, row in ROWS.items():
        path = folder / f"{name}.toml"
        path.write_text(configuration(row, WEEKS[0], BASE.read_text()))
        out[name] = load(path)
    return out


def test_each_row_differs_in_one_part_from_the_one_before(tmp_path: Path) -> None:
    def parts(config: Config) -> dict[str, object]:
        names = config.features.names
        odds, sums = ({x for x in names if key in x} for key in ("_odds", "expected_"))
        return {
            "odds": odds,
            "sums": sums,
            "capacities": config.features.capacities,
            "family": config.model.family,
        }

    found = [parts(config) for config in rows(tmp_path).values()]
    changed = [[key for key in one if one[key] != before[key]] for before, one in pairwise(found)]
    assert changed == [["odds"], ["sums"], ["capacities"], ["family"], ["sums"]]


def test_the_last_row_is_the_models_own_configuration(tmp_path: Path) -> None:
    own, last = load(BASE), rows(tmp_path)["handbook"]
    assert last.features == own.features
    assert last.model == own.model
    assert last.evaluate.baselines == []
    assert last.train.since == own.train.since
    assert last.train.test_until - last.train.until == 7 * 86_400


def test_what_cannot_be_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([__file__, "--rows", "fountain"], "no row fountain; there are stream"),
        ([str(tmp_path / "none.parquet")], "none.parquet: there is no such file"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert said in capsys.readouterr().err
