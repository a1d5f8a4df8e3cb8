# SPDX-License-Identifier: Apache-2.0
"""The model card names the rows that the weights come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tinyfin.evaluation.model_card import model_card, trained_on
from tinyfin.results.evaluation import Evaluation
from tinyfin.training.run_folder import open_run


@pytest.mark.parametrize(
    ("family", "held_back"),
    [
        ('"mlp"', True),
        ('"boosted"', False),
        ('"distilled"', False),
        ('"distilled"\noptions = {keep = "best"}', True),
    ],
)
def test_validation_rows_that_a_family_learns_from_are_named_so(
    judged: Path, tmp_path: Path, family: str, held_back: bool
) -> None:
    path = Path(shutil.copytree(judged, tmp_path / "run"))
    facts = Evaluation.parse(json.loads((path / "evaluation.json").read_text()), "here")
    data = (path / "config.toml").read_text().split("[model")[0]
    (path / "config.toml").write_text(f"{data}[model]\nfamily = {family}\n")
    split = facts.folds[-1].split
    rows, frauds = split.fit.rows, split.fit.frauds
    if not held_back:
        rows, frauds = rows + split.validation.rows, frauds + split.validation.frauds
    validated = f"{split.validation.rows:,} rows" if held_back else "no rows of their own"
    assert trained_on(facts, open_run(path)) == [
        ("trained on", f"{rows:,} rows with {frauds:,} frauds"),
        ("validated on", validated),
    ]
    text = " ".join(model_card(facts, open_run(path)).split())
    assert f"was trained on {rows:,} rows with {frauds:,} frauds, validated on {validated}" in text
