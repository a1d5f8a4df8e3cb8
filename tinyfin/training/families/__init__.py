# SPDX-License-Identifier: Apache-2.0
"""Families of models. Adding one is adding a module here and a line to :data:`FAMILIES`.

A family trains on int8 network inputs, the very bytes that the terminal's network will see. It
gives either a Keras model whose input is ``code / INPUT_STEPS`` (so the input of the int8
``.tflite`` has scale 1 / INPUT_STEPS and zero point 0, and what was trained on is what runs), or
an integer model that is its own quantization: tables or trees, for operators of this engine.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from tinyfin.config import Model
from tinyfin.errors import ConfigError
from tinyfin.pack.integer_model import IntegerModel
from tinyfin.results.metrics import Thinned
from tinyfin.results.run import FitFacts
from tinyfin.training.keras_types import Network

__all__ = [
    "FAMILIES",
    "INPUT_STEPS",
    "Family",
    "Fitted",
    "FittedIntegers",
    "Learned",
    "Problem",
    "Readout",
    "codes_to_float",
    "family",
    "family_options",
    "score_rows",
    "weights_sha256",
]

_Options = TypeVar("_Options", bound=BaseModel)

_BATCH = 1 << 14
_ROWS = _BATCH << 4
"""Rows that are scored at a time."""

INPUT_STEPS = 64
"""Codes per unit of the float network's input."""

Readout = Literal["accumulator", "sum_of_squares", "reconstruction"]
"""``accumulator``: the int32 accumulator of the last dense layer (one wide), of the tables or of
the trees. ``sum_of_squares``: of the outputs. ``reconstruction``: of inputs less outputs."""

FAMILIES: Mapping[str, str] = {
    "mlp": "tinyfin.training.families.mlp",
    "distilled": "tinyfin.training.families.distilled",
    "boosted": "tinyfin.training.families.boosted",
    "density": "tinyfin.training.families.density",
    "forest": "tinyfin.training.families.forest",
    "whitening": "tinyfin.training.families.whitening",
    "autoencoder": "tinyfin.training.families.autoencoder",
}
"""Name of each family and the module that defines ``FAMILY``."""


@dataclass(frozen=True)
class Problem:
    """What there is to learn. Inputs int8[n, F]; labels 1 fraud, 0 genuine, -1 not known; in order
    of time.

    The validation rows are later than the fit rows and choose the epoch; for a family that
    ``takes_validation`` they are among the rows to fit on, and none are held back. A family that is
    not supervised gets no row that is known to be fraud.
    """

    inputs: npt.NDArray[np.int8]
    label: npt.NDArray[np.int8]
    validation_inputs: npt.NDArray[np.int8]
    validation_label: npt.NDArray[np.int8]
    feature_names: tuple[str, ...]
    amount: npt.NDArray[np.int64] | None = None
    """Minor units of the fit rows; None for events that are no payments."""
    validation_amount: npt.NDArray[np.int64] | None = None

    def with_validation(self) -> Problem:
        """The same with the validation rows behind the fit rows, and none held back."""
        amount, later = self.amount, self.validation_amount
        return replace(
            self,
            inputs=np.concatenate([self.inputs, self.validation_inputs]),
            label=np.concatenate([self.label, self.validation_label]),
            amount=None if amount is None or later is None else np.concatenate([amount, later]),
            validation_inputs=self.validation_inputs[:0],
            validation_label=self.validation_label[:0],
            validation_amount=None if later is None else later[:0],
        )


class Learned(Protocol):
    """What a family gives: a score, the bytes it is made of, and a place to keep it."""

    @property
    def readout(self) -> Readout:
        """How the raw score is taken."""

    @property
    def history(self) -> FitFacts:
        """What is worth knowing of the fit, for ``run.json``."""

    @property
    def thinned(self) -> Sequence[Thinned]:
        """Rows that it was not fitted on."""

    def score(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """Float scores of int8 inputs, n rows; the higher, the more suspicious. Of many rows take
        :func:`score_rows`."""

    def weights(self) -> list[npt.NDArray[np.generic]]:
        """The arrays that were learned, in a fixed order."""

    def save(self, folder: Path) -> None:
        """Write ``model.keras`` or ``model.json``."""


@dataclass(frozen=True)
class Fitted:
    """A Keras model and how its score is read."""

    keras_model: Network
    readout: Readout
    history: FitFacts
    thinned: Sequence[Thinned] = ()

    def score(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """Float scores (logits, sums of squares or of squared errors) of int8 inputs, n rows."""
        x = codes_to_float(inputs)
        out: npt.NDArray[np.float32] = self.keras_model.predict(x, batch_size=_BATCH, verbose=0)
        if self.readout == "accumulator":
            return out[:, 0]
        error = out if self.readout == "sum_of_squares" else x - out
        return np.asarray(np.sum(error * error, axis=1), np.float32)

    def weights(self) -> list[npt.NDArray[np.generic]]:
        """Of the layers, in Keras' order."""
        return list(self.keras_model.get_weights())

    def save(self, folder: Path) -> None:
        """Write ``model.keras``; equal models give equal bytes."""
        path = folder / "model.keras"
        self.keras_model.save(path)
        _only_the_model(path)


def _only_the_model(path: Path) -> None:
    """Take everything out of a ``.keras`` file that is not the model's: when it was saved, and
    where in memory objects lay that several layers share (numbered instead)."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(members["metadata.json"])
    about.pop("date_saved", None)
    members["metadata.json"] = json.dumps(about).encode()
    places: dict[bytes, int] = {}
    members["config.json"] = re.sub(
        rb'("shared_object_id": )(\d+)',
        lambda found: found[1] + b"%d" % places.setdefault(found[2], len(places) + 1),
        members["config.json"],
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)


@dataclass(frozen=True)
class FittedIntegers:
    """An integer model, and the float scores that it represents."""

    model: IntegerModel
    float_score: Callable[[npt.NDArray[np.int8]], npt.NDArray[np.float32]]
    history: FitFacts
    thinned: Sequence[Thinned] = ()

    @property
    def readout(self) -> Readout:
        """Tables and trees are summed in an accumulator."""
        return "accumulator"

    def score(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """Scores before they were made whole numbers."""
        return self.float_score(inputs)

    def weights(self) -> list[npt.NDArray[np.generic]]:
        """The tables' or trees' bytes."""
        return [*self.model.arrays()]

    def save(self, folder: Path) -> None:
        """Write ``model.json``."""
        (folder / "model.json").write_bytes(self.model.encode())


class Family(Protocol):
    """What a family must do."""

    name: str
    supervised: bool
    """It needs labels. One that does not is given every row that is not known to be fraud, and the
    input maps that spend their codes on the tails
    (:func:`tinyfin.training.input_maps.fit_tail_maps`)."""

    needs: tuple[str, ...]
    """Modules that it imports when it learns."""

    usual: Mapping[str, object]
    """[model] keys that suit it where a configuration was written for another family."""

    def takes_validation(self, model: Model) -> bool:
        """Whether it is fitted on the validation rows, too: with these options they would choose
        nothing. Families that learn without labels are not, whatever they choose: the published
        figures are of models that were fitted on the fit rows alone."""

    def fit(
        self, problem: Problem, model: Model, progress: Callable[[int, int, str], None]
    ) -> Learned:
        """Learn. ``progress(done, of, note)`` is called as it goes. The same problem, options and
        seed give the same weights on the same machine and versions."""


def family(name: str) -> Family:
    """The family called ``name``; ConfigError if there is none."""
    if name not in FAMILIES:
        raise ConfigError(f"model.family = {name!r}: known are {', '.join(FAMILIES)}")
    found: Family = importlib.import_module(FAMILIES[name]).FAMILY
    return found


def family_options(kind: type[_Options], model: Model) -> _Options:
    """``[model.options]`` as one family knows them; ConfigError names the key."""
    try:
        return kind.model_validate(model.options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(kind.model_fields) or "none"
        raise ConfigError(
            f"model.options.{key}: {first['msg']}; family {model.family} knows {known}"
        ) from error


def score_rows(learned: Learned, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """``learned.score`` of many rows, in little memory."""
    parts = [inputs[at : at + _ROWS] for at in range(0, max(len(inputs), 1), _ROWS)]
    return np.concatenate([learned.score(part) for part in parts])


def weights_sha256(learned: Learned) -> str:
    """What names the weights: SHA-256 of their bytes in order."""
    digest = hashlib.sha256()
    for array in learned.weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def codes_to_float(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """What the float network sees of int8 codes."""
    return codes.astype(np.float32) / np.float32(INPUT_STEPS)
