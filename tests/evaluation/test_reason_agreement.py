# SPDX-License-Identifier: Apache-2.0
"""How often two rankings of reasons agree, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tinyfin.evaluation import reason_agreement as module

DEVICE = [[1, 2, 3], [4, 0, 0], [5, 6, 0], [7, 8, 9], [0, 0, 0]]
SHAPLEY = [[1, 3], [2, 4], [5], [9, 8, 7], []]


def agreement(monkeypatch: pytest.MonkeyPatch, advice: list[int]) -> object:
    fold = SimpleNamespace(
        advice=np.array(advice), reasons=np.array(DEVICE, np.uint16), rows=np.arange(5)
    )
    monkeypatch.setattr(module, "cards_of", lambda tx, rows: rows // 2)
    monkeypatch.setattr(module, "_by_shapley", lambda s, rows: [SHAPLEY[i] for i in rows])
    return module.reason_agreement(None, [fold, fold], seed=1)  # type: ignore[arg-type, list-item]  # stands for both


def test_agreement_is_counted_over_alerts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = agreement(monkeypatch, [1, 3, 2, 1, 0])
    assert (found.alerts, found.of_alerts) == (8, 8)
    # first: 1 = 1, 4 != 2, 5 = 5, 7 != 9; in common: 2 of 2, 1 of 2, 1 of 1, 3 of 3
    assert found.first == pytest.approx(2 / 4)
    assert found.three == pytest.approx(7 / 8)
    for value, (low, high) in ((0.5, found.first_interval), (0.875, found.three_interval)):
        assert 0 <= low < value < high <= 1


def test_nothing_is_said_without_an_alert_or_shap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert agreement(monkeypatch, [0] * 5) is None
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert agreement(monkeypatch, [1] * 5) is None
