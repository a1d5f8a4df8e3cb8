# SPDX-License-Identifier: Apache-2.0
"""A student is taught by trees that did not learn from the rows they judge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tinyfin.config import Model
from tinyfin.errors import ConfigError
from tinyfin.training.families import Problem, family
from tinyfin.training.families.distilled import DistilledOptions, mixed, teach
from tinyfin.training.metrics import average_precision

OPTIONS = DistilledOptions(trees=60)


def rows(n: int, seed: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Fraud where two of six inputs agree, which no single input shows; a tenth is noise."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-128, 128, (n, 6)).astype(np.int8)
    fraud = (inputs[:, 0] > 60) & (inputs[:, 1] > 60)
    return inputs, (fraud ^ (rng.random(n) < 0.02)).astype(np.int8)


def quiet(done: int, of: int, text: str) -> None:
    """Nobody watches."""


def judged(label: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    inputs, _ = rows(len(label), 1)
    return teach(inputs, label, np.ones(len(label)), OPTIONS, 1, quiet)[0]


def test_a_row_does_not_teach_its_own_teacher() -> None:
    _, label = rows(4500, 1)
    first_block = slice(0, 500)  # nine blocks of time, three teachers
    turned = label.copy()
    turned[first_block] ^= 1
    before, after = judged(label), judged(turned)
    assert np.array_equal(before[first_block], after[first_block])
    assert not np.array_equal(before[500:], after[500:])


def test_the_odds_are_those_of_the_data() -> None:
    _, label = rows(9000, 1)
    word = judged(label)
    assert np.mean(word) == pytest.approx(np.mean(label), rel=0.15)
    assert average_precision(word, label) > 0.5


def test_mixed_rows_are_rows_with_some_inputs_of_others() -> None:
    inputs = np.tile(np.arange(-100, 100, dtype=np.int8)[:, None], 20)
    word = np.where(np.arange(200) < 2, 0.98, 1e-4)
    found = mixed(inputs, word, 10_000, 0.1, 1)
    own = np.array([np.bincount(row + 100, minlength=200).max() for row in found.astype(np.int64)])
    # a swapped input is the row's own again once in 200
    assert np.mean(20 - own) == pytest.approx(2.0, rel=0.05)
    suspicious = np.mean(np.median(found, axis=1) < -98)
    root = np.sqrt(word)
    assert suspicious == pytest.approx((0.01 + root[:2].sum() / root.sum()) / 2, rel=0.1)
    assert np.array_equal(found, mixed(inputs, word, 10_000, 0.1, 1))
    assert not np.array_equal(found, mixed(inputs, word, 10_000, 0.1, 2))
    assert np.isin(mixed(inputs, word, 50, 0.0, 1), inputs).all()


def test_mixed_rows_teach_what_few_rows_cannot() -> None:
    """Many seeds, for one student may be lucky."""
    gains = []
    for seed in range(6):
        inputs, label = rows(1500, 10 + seed)
        later, later_label = rows(4000, 100 + seed)
        problem = Problem(inputs, label, later, later_label, tuple("abcdef"))
        found = []
        for share in (0.0, 4.0):
            model = Model(
                family="distilled",
                hidden=[16],
                epochs=12,
                batch_size=64,
                learning_rate=1e-2,
                seed=seed,
                options={"trees": 60, "mixed": share},
            )
            student = family("distilled").fit(problem, model, quiet)
            assert student.history.mixed_rows == share * 1500
            found.append(average_precision(student.score(later), later_label))
        gains.append(found[1] - found[0])
    assert np.mean(gains) > 0.02
    assert np.count_nonzero(np.array(gains) > 0) >= 4


def test_the_student_is_taught_and_repeats_itself() -> None:
    inputs, label = rows(4000, 2)
    later, later_label = rows(1000, 3)
    problem = Problem(inputs, label, later, later_label, tuple("abcdef"))
    model = Model(
        family="distilled",
        hidden=[16],
        epochs=6,
        batch_size=64,
        learning_rate=1e-2,
        options={"trees": 20, "trust": 1.0},
    )
    first, again = (family("distilled").fit(problem, model, quiet) for _ in range(2))
    for a, b in zip(first.weights(), again.weights(), strict=True):
        assert np.array_equal(a, b)
    # the labels themselves are never targets here: what it knows it has from its teachers
    assert average_precision(first.score(later), later_label) > 0.6
    assert first.history.teacher_average_precision > 0.5
    assert first.readout == "accumulator"


def test_a_wrong_option_names_the_key() -> None:
    inputs, label = rows(100, 1)
    problem = Problem(inputs, label, inputs, label, tuple("abcdef"))
    with pytest.raises(ConfigError, match=r"model.options.trust: .* family distilled knows"):
        family("distilled").fit(problem, Model(family="distilled", options={"trust": 2}), quiet)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_epoch_that_stays(keep: str) -> None:
    inputs, label = rows(600, 1)
    problem = Problem(inputs, label, *rows(300, 2), tuple("abcdef"))
    model = Model(
        family="distilled",
        hidden=[4],
        epochs=5,
        patience=1,
        learning_rate=0.1,
        options={"trees": 5, "keep": keep},
    )
    history = family("distilled").fit(problem, model, quiet).history
    values = history.validation_average_precision
    if keep == "last":
        assert (history.best_epoch, len(values)) == (4, 5), "it never stops early"
    else:
        assert history.best_epoch == int(np.argmax(values))
        assert len(values) == min(5, history.best_epoch + 2)


def test_few_rows_are_seen_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyfin.training.families.dense._BATCHES", 60)
    epochs = []
    for count in (20, 150, 640):
        inputs, label = rows(count, 1)
        label[:2] = 1, 0
        problem = Problem(inputs, label, inputs[:50], label[:50], tuple("abcdef"))
        history = (
            family("distilled")
            .fit(
                problem,
                Model(
                    family="distilled", hidden=[2], batch_size=50, options={"trees": 2, "mixed": 0}
                ),
                quiet,
            )
            .history
        )
        epochs.append(history.best_epoch + 1)
    assert epochs == [60, 20, 14]
