# SPDX-License-Identifier: Apache-2.0
"""Training and rules on transactions by rules that were written elsewhere: the Handbook's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.handbook import CONFIG, PUBLISHED, write_world
from tinyfin.config import load
from tinyfin.data.readers import read
from tinyfin.quantization.workflow import quantize
from tinyfin.training.metrics import average_precision
from tinyfin.training.populations import known_cards_removed
from tinyfin.training.rules import rule_scores
from tinyfin.training.workflow import train


def test_a_small_network_beats_the_amount_and_survives_int8(tmp_path: Path) -> None:
    text = CONFIG.read_text().replace("epochs = 14", "epochs = 8")
    path = tmp_path / "tinyfin.toml"
    path.write_text(text.replace("batch_size = 1024", "batch_size = 512"))
    data = write_world(tmp_path / "world.parquet")
    run = train([data], load(path), name="world", out=tmp_path, until_s=None)
    found = quantize(run)["populations"]["all"]
    assert found["model_int8"]["average_precision"] > found["amount"]["average_precision"] + 0.1
    difference = (
        found["model_int8"]["average_precision"] - found["model_float"]["average_precision"]
    )
    assert abs(difference) < 0.02


def test_rule_a_and_the_handbooks_population_are_the_published_ones() -> None:
    """Four weeks, labels known 7 days late: mean AP .634 for the rule, .200 for the amount."""
    if not PUBLISHED.is_file():
        pytest.skip(f"{PUBLISHED} is not part of the repository: its licence is share-alike")
    config = load(CONFIG)
    tx = read(PUBLISHED, config)
    rules = rule_scores(tx)
    week = 7 * 86400
    start = 585_187_200  # 2018-07-18
    means: dict[str, list[float]] = {"amount": [], "rule_a": []}
    for i in range(4):
        until = start + i * week
        rows = np.flatnonzero((tx.t_mono_s >= until) & (tx.t_mono_s < until + week))
        stay = known_cards_removed(tx, rows, until)
        assert stay is not None
        kept = rows[stay]
        for name, values in means.items():
            values.append(average_precision(rules[name][kept], tx.label[kept]))
    assert len(kept) == 58_264
    assert int(np.count_nonzero(tx.label[kept] == 1)) == 385
    assert np.mean(means["rule_a"]) == pytest.approx(0.634, abs=0.001)
    assert np.mean(means["amount"]) == pytest.approx(0.200, abs=0.001)
