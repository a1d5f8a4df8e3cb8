# SPDX-License-Identifier: Apache-2.0
"""What each input did to the raw score: the device's contributions, and Shapley values.

What is explained is the int8 pack, run by the twin. The value of a coalition of inputs is the mean
raw score where these are the event's and all others those of background rows (Lundberg and Lee, A
Unified Approach to Interpreting Model Predictions, 2017).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from tinyfin.errors import MismatchError
from tinyfin.optional_packages import require
from tinyfin.pack.decision import Decision
from tinyfin.pack.integer_model import Forest, decode_integer_model
from tinyfin.results.explanation import Method
from tinyfin.training.run_folder import RunFolder

__all__ = ["Shapley", "contributions", "reason_ids", "shapley_values", "strongest"]

_EXACT_INPUTS = 10
_RELATIVE = 1e-6
"""Of the largest raw score: what floating point may lose of a sum."""

Inputs = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]
Score = Callable[[Inputs], npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Shapley:
    """Of n events with F inputs, in units of the raw score."""

    method: Method
    values: Floats
    """[n, F]"""
    standard_error: Floats
    """[n, F]"""
    background: int
    """Rows that say what is usual."""
    base: float
    bound: float
    """No sum is farther from raw score less base."""


def shapley_values(
    run: RunFolder,
    score: Score,
    inputs: Inputs,
    raw: npt.NDArray[np.integer],
    *,
    background: int = 100,
    permutations: int = 100,
) -> Shapley:
    """Shapley values of ``inputs`` int8[n, F] whose verdicts have the scores ``raw``.

    ``background``: rows that the run's seed draws of its calibration rows. Exact with at most ten
    inputs, and of trees; else of ``permutations`` and their reverse. Raises ToolError without the
    package shap, and MismatchError where a sum is not raw score less base: then it was not the pack
    that gave the verdict which was explained.
    """
    require(("shap",), "for Shapley values")
    kept, seed = run.slices("calibration")["calibration"], run.facts().model.seed
    usual = np.random.default_rng(seed).choice(kept, min(background, len(kept)), replace=False)
    base_raw = score(usual).astype(np.float64)
    error, forest = np.zeros(inputs.shape), _forest(run)
    method: Method = "exact"

    def model(rows: npt.NDArray[np.generic]) -> Floats:
        return score(np.ascontiguousarray(rows, np.int8)).astype(np.float64)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of what shap imports
        import shap

        masker = shap.maskers.Independent(usual, max_samples=len(usual))
        if forest is not None:
            method, values = "trees", _of_trees(shap, forest, inputs, usual)
        elif inputs.shape[1] <= _EXACT_INPUTS:
            values = shap.ExactExplainer(model, masker)(inputs, silent=True).values
        else:
            method, runs = "permutations", 2 * permutations
            found = shap.PermutationExplainer(model, masker, seed=seed)(
                inputs, max_evals=runs * inputs.shape[1] + 1, error_bounds=True, silent=True
            )
            values, error = found.values, found.error_std / np.sqrt(runs)
    bound = _RELATIVE * float(np.max(np.abs([*base_raw, *raw]), initial=1.0))
    base = float(base_raw.mean())
    wrong = int(np.count_nonzero(~(np.abs(values.sum(axis=1) - (raw - base)) <= bound)))
    if wrong:
        raise MismatchError(
            f"{run.path}: the Shapley values of {wrong} of {len(raw)} events do not add up to raw "
            "score less base: what was explained is not the pack that gave the verdict; quantize "
            "the run again, and report it if that does not help"
        )
    return Shapley(method, values, error, len(usual), base, bound)


def _forest(run: RunFolder) -> Forest | None:
    """The trees that the pack of a run adds up; None where it has none."""
    path = run.path / "model.json"
    model = decode_integer_model(path.read_bytes(), str(path)) if path.is_file() else None
    return model if isinstance(model, Forest) else None


def _of_trees(shap: ModuleType, forest: Forest, inputs: Inputs, background: Inputs) -> Floats:
    """By TreeExplainer, which goes left up to a threshold, as the engine does."""
    splits = forest.feature.shape[1]
    left = np.append(2 * np.arange(splits) + 1, np.full(splits + 1, -1))
    rest = np.zeros(splits + 1)
    trees = [
        {
            "children_left": left,
            "children_right": np.where(left < 0, -1, left + 1),
            "children_default": left,
            "features": np.append(feature, rest).astype(int),
            "thresholds": np.append(threshold, rest),
            "values": np.append(np.zeros(splits), leaf)[:, None],
            "node_sample_weight": np.ones(len(left)),
        }
        for feature, threshold, leaf in zip(
            forest.feature, forest.threshold, forest.leaf, strict=True
        )
    ]
    explainer = shap.TreeExplainer(
        {"trees": trees}, background.astype(np.float64), feature_perturbation="interventional"
    )
    return np.asarray(explainer.shap_values(inputs.astype(np.float64), check_additivity=False))


def contributions(score: Score, inputs: Inputs, decision: Decision) -> npt.NDArray[np.int64]:
    """What the device computes: raw score less that with one input at its reference, [n, F]."""
    n, features = inputs.shape
    other = np.repeat(inputs[:, None, :], features + 1, axis=1)
    i = np.arange(features)
    other[:, i, i] = decision.references
    raw = score(other.reshape(-1, features)).reshape(n, features + 1).astype(np.int64)
    return np.asarray(raw[:, -1:] - raw[:, :-1])


def reason_ids(decision: Decision, inputs: Inputs) -> npt.NDArray[np.int64]:
    """The reason that is true of each input, by the side of its reference, 0 for none: [n, F]."""
    reference = np.array(decision.references)
    low = np.where(inputs < reference, decision.below, 0)
    return np.where(inputs > reference, decision.reasons, low)


def strongest(values: npt.NDArray[np.generic], ids: npt.NDArray[np.integer]) -> list[int]:
    """At most three reasons of features that raise the score, the strongest first, none twice:
    ``values`` and ``ids`` of one event, one per feature."""
    order = np.argsort(-values.astype(np.float64), kind="stable")
    return list(dict.fromkeys(int(ids[i]) for i in order if values[i] > 0 and ids[i]))[:3]
