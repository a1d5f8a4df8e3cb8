# SPDX-License-Identifier: Apache-2.0
"""How well a configuration ranks the validation rows, which are later than those it trains on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.training.dataset import Dataset, Featured
from tinyfin.training.families import Problem, family, score_rows
from tinyfin.training.fit import input_maps, map_rows
from tinyfin.training.metrics import average_precision
from tinyfin.training.split import Split, known_labels

__all__ = ["validation_score"]


def validation_score(
    dataset: Dataset,
    split: Split,
    config: Config,
    made: Featured,
    trained: npt.NDArray[np.int8] | None = None,
) -> float:
    """Average precision on the validation rows of a model of the fit rows; NaN without a fraud
    there. ``trained``: labels int8[n] of all rows to train on; those that are known if None."""
    label = known_labels(dataset.tx, split.until_s)
    learned = label if trained is None else trained
    chosen = family(config.model.family)
    fit, later = split.fit, split.validation
    if not chosen.supervised:
        fit = fit[learned[fit] != 1]
    maps = input_maps(chosen, made.features, fit, learned[fit])
    amount = dataset.tx.amount
    inputs = map_rows(maps, made.features, later)
    # the validation rows judge the model, so no family is fitted on them here
    held_back = slice(0) if chosen.takes_validation(config.model) else slice(None)
    problem = Problem(
        map_rows(maps, made.features, fit),
        learned[fit],
        inputs[held_back],
        label[later][held_back],
        made.program.feature_names,
        None if amount is None else amount[fit],
        None if amount is None else amount[later][held_back],
    )
    fitted = chosen.fit(problem, config.model, lambda done, of, text: None)
    return average_precision(score_rows(fitted, inputs), label[later])
