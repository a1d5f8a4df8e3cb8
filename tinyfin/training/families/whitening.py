# SPDX-License-Identifier: Apache-2.0
"""``whitening``: one dense layer that makes clean rows round, and the sum of its squares.

The layer is W (x - mean) with W W' the inverse of the clean rows' covariance: the score is the
squared Mahalanobis distance. Directions of almost no variance would turn the inputs' own rounding
into suspicion: the covariance gets ``shrinkage`` times its mean variance added to its diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tinyfin.config import Model
from tinyfin.training.families import Fitted, Problem, codes_to_float, family_options
from tinyfin.training.reproducible import tensorflow

__all__ = ["FAMILY"]


class Options(BaseModel):
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
    usual: Mapping[str, Any] = MappingProxyType({})

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Fitted:
        """See :class:`tinyfin.training.families.Family`."""
        options = family_options(Options, model)
        x = codes_to_float(problem.inputs).astype(np.float64)
        mean = x.mean(axis=0)
        covariance = np.cov(x - mean, rowvar=False).reshape(x.shape[1], x.shape[1])
        floor = options.shrinkage * max(float(np.trace(covariance)) / len(covariance), 1e-6)
        values, vectors = np.linalg.eigh(covariance)
        rows = vectors.T / np.sqrt(np.maximum(values, 0.0) + floor)[:, None]
        if options.rotation == "zca":
            rows = vectors @ rows
        elif options.components is not None:
            rows = rows[: options.components]
        progress(1, 1, "solved")
        tf = tensorflow(model.seed)
        first = tf.keras.Input((x.shape[1],), name="inputs")
        layer = tf.keras.layers.Dense(len(rows), name="whiten")
        network = tf.keras.Model(first, layer(first), name="whitening")
        layer.set_weights([rows.T.astype(np.float32), (-rows @ mean).astype(np.float32)])
        history = {
            "fit_rows": len(x),
            "rotation": options.rotation,
            "condition": float((values[-1] + floor) / (max(values[0], 0.0) + floor)),
            "parameters": int(network.count_params()),
        }
        return Fitted(network, "sum_of_squares", history)


FAMILY = Whitening()
