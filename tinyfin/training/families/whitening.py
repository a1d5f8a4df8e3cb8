# SPDX-License-Identifier: Apache-2.0
"""``whitening``: one dense layer that makes clean rows round, and the sum of its squares.

The layer is W (x - mean) with W W' the inverse of the clean rows' covariance: the score is the
squared Mahalanobis distance. Directions of almost no variance would turn the inputs' own rounding
into suspicion: the covariance gets ``shrinkage`` times its mean variance added to its diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.results.run import FitFacts
from tinyfin.training.families import INPUT_STEPS, Fitted, Problem, codes_to_float, family_options
from tinyfin.training.reproducible import tensorflow

__all__ = ["FAMILY"]

_ROWS = 1 << 20


class WhiteningOptions(BaseModel):
    """[model.options] of this family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation: Literal["zca", "pca"] = "zca"
    """``zca`` keeps each output near its own input, and int8 rounding small; ``pca`` gives
    principal components, of which ``components`` can leave the widest out."""
    components: int | None = Field(default=None, ge=1)
    """pca: how many, the narrowest (those that clean rows hardly move in); all if not given."""
    shrinkage: float = Field(default=1e-3, ge=0, le=1)


class Whitening:
    """Linear algebra on clean rows: no seed, no epochs."""

    name = "whitening"
    supervised = False
    needs: tuple[str, ...] = ("tensorflow",)
    usual: Mapping[str, object] = MappingProxyType({})

    def takes_validation(self, model: Model) -> bool:
        """No, as all families that learn without labels."""
        return False

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Fitted:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(WhiteningOptions, model)
        mean, covariance = _moments(problem.inputs)
        width = len(mean)
        floor = options.shrinkage * max(float(np.trace(covariance)) / len(covariance), 1e-6)
        values, vectors = np.linalg.eigh(covariance)
        rows = vectors.T / np.sqrt(np.maximum(values, 0.0) + floor)[:, None]
        if options.rotation == "zca":
            rows = vectors @ rows
        elif options.components is not None:
            rows = rows[: options.components]
        progress(1, 1, "solved")
        tf = tensorflow(model.seed)
        first = tf.keras.Input((width,), name="inputs")
        layer = tf.keras.layers.Dense(len(rows), name="whiten")
        network = tf.keras.Model(first, layer(first), name="whitening")
        layer.set_weights([rows.T.astype(np.float32), (-rows @ mean).astype(np.float32)])
        history = FitFacts(
            fit_rows=len(problem.inputs),
            rotation=options.rotation,
            condition=float((values[-1] + floor) / (max(values[0], 0.0) + floor)),
            parameters=int(network.count_params()),
        )
        return Fitted(network, "sum_of_squares", history)


FAMILY = Whitening()


def _moments(
    inputs: npt.NDArray[np.int8],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and covariance of the float inputs; of many rows in parts, for the sake of memory."""
    width = inputs.shape[1]
    if len(inputs) <= _ROWS:
        x = codes_to_float(inputs).astype(np.float64)
        mean = x.mean(axis=0)
        return mean, np.cov(x - mean, rowvar=False).reshape(width, width)
    mean = np.asarray(np.sum(inputs, axis=0, dtype=np.int64) / len(inputs) / INPUT_STEPS)
    products = np.zeros((width, width))
    for start in range(0, len(inputs), _ROWS):
        x = codes_to_float(inputs[start : start + _ROWS]).astype(np.float64) - mean
        products += x.T @ x
    return mean, products / (len(inputs) - 1)
