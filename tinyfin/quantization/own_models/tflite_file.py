# SPDX-License-Identifier: Apache-2.0
"""An int8 ``.tflite`` that takes the codes of the run as they are: not converted again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.errors import ModelError
from tinyfin.quantization.parity import tflm
from tinyfin.quantization.run_network import network_of
from tinyfin.results.metrics import Thinned
from tinyfin.results.run import FitFacts
from tinyfin.tflite import model as tflite_model
from tinyfin.training.families import INPUT_STEPS, Readout, codes_to_float

__all__ = ["Int8File", "read_tflite"]


@dataclass(frozen=True)
class Int8File:
    """The file, and the score that TFLM's int8 outputs give."""

    data: bytes
    readout: Readout
    history: FitFacts
    thinned: tuple[Thinned, ...] = ()

    def score(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """Of int8[n, F], from the outputs of TFLM times their scale."""
        of = tflite_model.load(self.data).output_tensor
        out = (tflm(self.data, inputs).astype(np.float32) - of.zero_point) * of.scale
        if self.readout == "accumulator":
            return np.asarray(out[:, 0], np.float32)
        error = out if self.readout == "sum_of_squares" else codes_to_float(inputs) - out
        return np.asarray(np.sum(error * error, axis=1), np.float32)

    def weights(self) -> list[npt.NDArray[np.generic]]:
        """The bytes of the file."""
        return [np.frombuffer(self.data, np.uint8)]

    def save(self, folder: Path) -> None:
        """Write ``model.tflite``."""
        files.write(folder / "model.tflite", self.data)


def read_tflite(data: bytes, where: str, width: int, readout: Readout) -> Int8File:
    """The network of an int8 ``.tflite`` for ``width`` inputs. Raises ModelError for one that no
    plan holds, or that takes other codes than the run's input maps give."""
    model = tflite_model.load(data, where)
    x = model.input_tensor
    if x.zero_point != 0 or x.scale != np.float32(1.0 / INPUT_STEPS):
        raise ModelError(
            f"{where}: the input {x.name!r} has scale {x.scale:.8g} and zero point "
            f"{x.zero_point}; the run gives codes of scale 1/{INPUT_STEPS} and zero point 0: train "
            f"on the codes over {INPUT_STEPS} and let the representative dataset reach "
            f"{-128 / INPUT_STEPS} and {127 / INPUT_STEPS}, or give the float network"
        )
    if x.size != width:
        raise ModelError(f"{where}: takes {x.size} inputs; the run has {width}")
    network_of(data, Path(where), readout)
    parameters = sum(t.size for t in model.tensors if t.data is not None)
    return Int8File(data, readout, FitFacts(parameters=parameters))
