# SPDX-License-Identifier: Apache-2.0
"""What the inputs of a run mean to a model that was made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ModelError
from tinyfin.pack.maps import InputMap
from tinyfin.quantization.own_models import first_line
from tinyfin.training.families import INPUT_STEPS, codes_to_float

__all__ = ["Meaning", "RunInputs"]

Meaning = Literal["scaled", "codes", "features"]
"""``scaled``: int8 codes over INPUT_STEPS as float32, what ``network_inputs`` gives. ``codes``:
int8 codes, what ``tinyfin network-inputs`` writes. ``features``: int16 values before the input
maps, what ``tinyfin features`` writes; only trees take them."""

_CODES = np.arange(-128, 128).astype(np.int8)
_FEATURES = np.arange(-32768, 32768)

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.number]


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run, and what they mean to the model."""

    names: tuple[str, ...]
    maps: tuple[InputMap, ...]
    meaning: Meaning = "scaled"

    @property
    def factor(self) -> float:
        """What a network's input is to be multiplied by, which is the code over INPUT_STEPS."""
        return float(INPUT_STEPS) if self.meaning == "codes" else 1.0

    def columns(self, names: Sequence[str] | None, width: int, where: str) -> npt.NDArray[np.int64]:
        """The run's input of each of the model's, which are as many: by name where the model has
        names of features, else by place. Raises ModelError for others."""
        if width != len(self.names):
            raise ModelError(f"{where}: takes {width} inputs; the run has {len(self.names)}")
        if names is None or _are_numbered(names):
            return np.arange(width)
        unknown = [name for name in names if name not in self.names]
        if unknown or len(set(names)) != width:
            raise ModelError(
                f"{where}: was trained on features that the run does not have: "
                f"{', '.join(unknown) or 'one of them twice'}; train it on the run's: "
                f"{', '.join(self.names)}"
            )
        return np.array([self.names.index(name) for name in names], np.int64)

    def values(
        self,
        columns: npt.NDArray[np.int64],
        scaler: Callable[[Numbers], Numbers] | None,
        where: str,
    ) -> tuple[Floats, Floats]:
        """Smallest and largest value [256, inputs] that the model may see for each code, of the
        model's inputs in its order, behind its ``scaler``; rising with the code.

        Where no value has a code, the values of the code before it stand for it.
        """
        if self.meaning == "features":
            found = [_range_of(self.maps[j]) for j in columns]
            low, high = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        else:
            codes = np.repeat(_CODES[:, None], len(columns), axis=1)
            low = high = codes if self.meaning == "codes" else codes_to_float(codes)
        ends: list[Floats] = []
        for part in (low, high):
            try:
                scaled = part if scaler is None else scaler(part)
            except Exception as error:  # scikit-learn's and numpy's, of a damaged one
                raise ModelError(
                    f"{where}: its scaler is not as scikit-learn fits it ({first_line(error)}); "
                    "fit and save it again"
                ) from error
            if scaled.shape != part.shape or not np.isfinite(scaled).all():
                raise ModelError(f"{where}: its scaler gives no finite value for each input")
            ends.append(scaled.astype(np.float64))
            if np.any(np.diff(ends[-1], axis=0) < 0):
                raise ModelError(f"{where}: its scaler turns an input around; train without it")
        return ends[0], ends[1]


def _range_of(of: InputMap) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Smallest and largest value [256] of each code."""
    code = of.evaluate(_FEATURES).astype(np.int64)
    at = _CODES.astype(np.int64)
    low = np.searchsorted(code, at, side="left")
    high = np.searchsorted(code, at, side="right") - 1
    used = low <= high
    place = np.maximum.accumulate(np.where(used, np.arange(256), 0))
    place = np.maximum(place, int(np.argmax(used)))
    return _FEATURES[low[place]].astype(np.int16), _FEATURES[high[place]].astype(np.int16)


def _are_numbered(names: Sequence[str]) -> bool:
    """Names that a tool gives to columns that have none."""
    return any(
        all(name == f"{stem}{i}" for i, name in enumerate(names)) for stem in ("f", "Column_", "x")
    )
