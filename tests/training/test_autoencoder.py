# SPDX-License-Identifier: Apache-2.0
"""What the autoencoder gives back, and what it does not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tinyfin.config import Model, from_table
from tinyfin.evaluation.family_comparison import with_family
from tinyfin.search import _changed
from tinyfin.training.families import Fitted, Problem, family
from tinyfin.training.families.autoencoder import way_in
from tinyfin.training.metrics import roc_auc

Codes = npt.NDArray[np.int8]
"""int8[n, 6]."""


def clean(n: int, seed: int) -> Codes:
    """Six inputs that two numbers decide, with a little noise."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(0, 16, (n, 2)) @ np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, -1]])
    rows = np.rint(mixed + rng.normal(0, 3, (n, 6)))
    return np.asarray(np.clip(rows, -128, 127), np.int8)


def odd(n: int, seed: int) -> Codes:
    """Rows whose inputs are each as usual, and do not belong together."""
    rows = clean(n, seed)
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.permutation(rows[:, i]) for i in range(6)])


def found(model: Model) -> Fitted:
    label = np.zeros(900, np.int8)
    problem = Problem(clean(900, 1), label, clean(300, 2), label[:300], tuple("abcdef"))
    fitted: Fitted = family("autoencoder").fit(problem, model, lambda *_: None)  # type: ignore[assignment]
    return fitted


@pytest.fixture(scope="module")
def usual() -> Fitted:
    """As it stands next to a configuration that names another family."""
    return found(with_family(from_table({"model": {"family": "density"}}), "autoencoder").model)


def test_the_usual_one_tells_odd_rows(usual: Fitted) -> None:
    score = usual.score(np.concatenate([clean(500, 3), odd(500, 4)]))
    assert roc_auc(score, np.repeat([0, 1], 500).astype(np.int8)) > 0.95
    assert usual.history.hidden == [2]
    assert len(usual.history.validation_error) == 100, "500 batches would be more"


def test_far_rows_come_back_in_a_straight_line_only(usual: Fitted) -> None:
    far = np.clip(3 * clean(500, 3).astype(np.int64), -128, 127).astype(np.int8)
    lost = float(np.sum((far / 64.0) ** 2))
    straight = found(
        Model(
            family="autoencoder",
            hidden=[16, 8],
            epochs=30,
            batch_size=64,
            learning_rate=1e-2,
            options={"activation": "relu"},
        )
    )
    assert np.sum(straight.score(far)) < 0.05 * lost
    assert np.sum(usual.score(far)) > 0.2 * lost


def test_the_same_seed_gives_the_same_weights() -> None:
    small = Model(family="autoencoder", hidden=[2], epochs=2, seed=5)
    one, again, other = (
        found(m).weights() for m in (small, small, small.model_copy(update={"seed": 6}))
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_patience_stops_it_and_the_best_epoch_stays() -> None:
    hasty = Model(family="autoencoder", epochs=40, batch_size=64, learning_rate=0.5, patience=1)
    history = found(hasty).history
    errors = history.validation_error
    assert history.best_epoch == int(np.argmin(errors))
    assert len(errors) == history.best_epoch + 2 < 40


@pytest.mark.parametrize(
    ("table", "width", "expected"),
    [({}, 27, [9]), ({}, 1, [1]), ({"hidden": []}, 6, [2]), ({"hidden": [32, 16]}, 6, [32, 16])],
)
def test_layers_by_the_width_unless_somebody_gave_them(
    table: dict[str, object], width: int, expected: list[int]
) -> None:
    config = from_table({"model": {"family": "autoencoder", **table}})
    assert way_in(config.model, width) == expected
    tried = _changed(config, {"epochs": 3}).model
    assert (way_in(tried, width), tried.epochs) == (expected, 3), "a search gives no layers either"
