# SPDX-License-Identifier: Apache-2.0
"""Candidates that are really trained, and packs that are bad in one way each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from tinyfin.config import load
from tinyfin.errors import InputError
from tinyfin.pack.container import Pack, open_pack
from tinyfin.pack.maps import map_inputs
from tinyfin.quantization.workflow import quantize
from tinyfin.training.workflow import train
from tinyfin.twin import NetworkTwin

__all__ = ["FAULTY", "SCORES", "Recipe", "Scorer", "configuration", "recipes", "trained"]

FIRST_DAY = date(2025, 1, 6)
"""Of [simulate], where no other is given."""
_MLP = """hidden = [16, 8]
epochs = 4
learning_rate = 5e-3
batch_size = 512
options = {genuine_rows = 60000}
"""
_CONFIG = """# SPDX-License-Identifier: Apache-2.0
{data}
[features]
names = {names}

[model]
family = "{family}"
{model}
[train]
since = "{since}"
until = "{until}"
train = 0.6
validation = 0.2
test = 0.2

[evaluate]
baselines = []
"""
Raws = npt.NDArray[np.int64]

SCORES: Final = ("constant", "reversed", "permuted", "higher", "lower")
"""Bad packs whose scores are wrong from the first event on: higher and lower by a standard
deviation of the raw scores, permuted among all events of a town, the network's inputs reversed."""
FAULTY: Final = ("slow", "crashing", "silent", "turns-bad")
"""Bad packs whose scores in shadow are those of a good one."""


@dataclass(frozen=True)
class Recipe:
    """How a pack is trained: on rows from the first of these weeks on, until before the second."""

    weeks: tuple[float, float] = (0, 12)
    seed: int = 1
    family: str = "mlp"
    first_day: date = FIRST_DAY
    """From which weeks count."""

    @property
    def name(self) -> str:
        """Of the run."""
        first, last = self.weeks
        return f"{self.family} seed {self.seed} weeks {first + 1:g} to {last:g}"


def recipes(good: int, family: str, weeks: int) -> list[Recipe]:
    """The parent, then candidates on a town of so many weeks, more than ``good``: other seeds,
    other weeks, boosted trees."""
    last = weeks - 2
    found = [Recipe((0, last), 1, family)]
    others = [(0, last), (2, weeks), (1, weeks - 1), (1, last), (2, weeks - 1), (0, weeks)]
    for seed in range(1, good + 3):
        for span in others if family == "boosted" or seed == 1 else others[:3]:
            one = Recipe(span, seed, family)
            found += [one] if one != found[0] else []
        found.append(Recipe(others[seed % len(others)], seed, "boosted"))
    return list(dict.fromkeys(found))[: good + 2 + good // 2]


def configuration(recipe: Recipe, data: str = "", names: str = '"default"') -> str:
    """tinyfin.toml of a recipe; ``data``: further sections, ``names``: of the features, TOML."""
    since, until = (recipe.first_day + timedelta(weeks=week) for week in recipe.weeks)
    model = _MLP if recipe.family == "mlp" else ""
    given = {"family": recipe.family, "model": model, "since": since, "until": until}
    return _CONFIG.format(data=data, names=names, **given)


class Scorer:
    """A pack, run on features."""

    def __init__(self, path: Path) -> None:
        """Raises PackError; InputError for a pack without a network."""
        self.pack: Pack = open_pack(path)
        maps, decision, calibration = self.pack.maps, self.pack.decision, self.pack.calibration
        if maps is None or decision is None or calibration is None:
            raise InputError(f"{path}: the pack holds no network; give one that scores")
        self._maps, self._decision, self._calibration = maps, decision, calibration
        self.references = decision.references
        self._network = NetworkTwin(self.pack.sections["PLAN"], self.pack.sections["READ"])

    def inputs(self, features: npt.NDArray[np.int16]) -> npt.NDArray[np.int8]:
        """Of the network, int8[n, inputs]."""
        return map_inputs(self._maps, features)

    def raw(self, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
        """Raw scores, int32[n]."""
        return self._network.infer(inputs)[1]

    def scores(self, raw: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
        """score_q32, uint32[n]."""
        return self._calibration.evaluate(raw)

    def advice(self, score: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
        """By its thresholds, uint8[n]."""
        return self._decision.advice(score)

    def broken(self, kind: str, features: npt.NDArray[np.int16], usual: Raws) -> Raws:
        """Raw scores of the pack when it is bad in one of the ways of :data:`SCORES`; ``usual``:
        raw scores that it gave when it was released."""
        inputs = self.inputs(features)
        if kind == "reversed":
            inputs = np.ascontiguousarray(inputs[:, ::-1])
        raw = self.raw(inputs).astype(np.int64)
        if kind == "constant":
            return np.full_like(raw, usual.min())
        if kind == "permuted":
            return np.random.default_rng(1).permutation(raw)
        if kind in ("higher", "lower"):
            return raw + round(float(usual.std())) * (1 if kind == "higher" else -1)
        return raw


def trained(data: Path, recipe: Recipe) -> Path:
    """Train and quantize a pack on a file of transactions, in a run folder next to it. Raises what
    training raises."""
    config = data.with_name(f"{recipe.name.replace(' ', '_')}.toml")
    config.write_text(configuration(recipe))
    run = train([data], load(config), name=config.stem, out=data.parent, seed=recipe.seed)
    quantize(run)
    return run.pack
