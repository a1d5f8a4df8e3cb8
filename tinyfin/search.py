# SPDX-License-Identifier: Apache-2.0
"""The best model that a terminal can afford: ``[search]`` tried, measured, ranked.

What a shape of network costs is measured before anything of that shape is trained: flash, RAM and
instructions do not depend on what the weights are. Trials are ranked by average precision on the
validation rows, which are later than the rows they train on; calibration and test rows take no
part. Every trial is kept in ``trials.json``.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyfin.config import Config, Model, Search
from tinyfin.errors import BudgetError, ConfigError, TinyfinError
from tinyfin.measure.run_costs import cost_of, largest_text, require_tools
from tinyfin.progress import stage
from tinyfin.results.trials import Cost, Trial, Trials
from tinyfin.training.families import family
from tinyfin.training.fit import learn
from tinyfin.training.run_folder import RunFolder, making_run, new_run
from tinyfin.training.validation_score import validation_score
from tinyfin.training.workflow import Begun, begin, finish

__all__ = ["Trial", "candidates", "search"]

Note = Callable[[str], None]

_KEYS = ("family", "hidden", "learning_rate", "l2", "dropout")
_PROBE_ROWS = 5000


def candidates(search: Search, model: Model) -> list[dict[str, object]]:
    """What to try, as changes to ``model``: all combinations, or ``search.trials`` of them."""
    lists = {key: getattr(search, key) for key in _KEYS if getattr(search, key)}
    options = [
        dict(zip(search.options, values, strict=True))
        for values in itertools.product(*search.options.values())
    ]
    grid = [
        dict(zip(lists, values, strict=True)) | ({"options": model.options | more} if more else {})
        for values in itertools.product(*lists.values())
        for more in options
    ]
    if len(grid) > search.trials:
        chosen = np.random.default_rng(model.seed).choice(len(grid), search.trials, replace=False)
        grid = [grid[i] for i in sorted(chosen.tolist())]
    return grid


def search(
    paths: Sequence[str | Path],
    config: Config,
    *,
    name: str,
    out: str | Path = "runs",
    until_s: int | None = None,
    seed: int | None = None,
    skip_bad_rows: str | Path | None = None,
    note: Note = lambda _: None,
) -> RunFolder:
    """Try, train the best that fits, and fill ``out/name`` with it, as ``train`` does.

    Raises BudgetError when nothing fits, ToolError when something is missing that builds for the
    target or boots it, and what training raises.
    """
    require_tools(config.search)
    with making_run(out, name, config) as run:
        begun = begin(run, paths, config, until_s, seed, skip_bad_rows, note, searching=True)
        chosen = _best(begun, note)
        finish(begun, chosen, note=note)
    return RunFolder(Path(out) / name)


def _best(begun: Begun, note: Note) -> Config:
    """Try everything; the configuration of the best that fits, which is written into the run."""
    run, config = begun.run, begun.config
    room = _Room(begun)
    tries = candidates(config.search, config.model)
    trials: list[Trial] = []
    with stage("searching", len(tries)) as done:
        for number, changes in enumerate(tries, 1):
            done.text = f"trial {number} of {len(tries)}"
            trials.append(room.attempt(number, changes))
            run.write(Trials(trials=trials))
            done.step()
            note(f"trial {number} of {len(tries)}: {_text(trials[-1])}")
    ranked = [trial for trial in trials if trial.average_precision is not None]
    if not ranked:
        nearest = min(trials, key=lambda trial: _excess(config.search, trial))
        raise BudgetError(
            f"{run.path / Trials.NAME}: none of {len(trials)} trials fits {config.search.target}; "
            f"the nearest: {_text(nearest)}{_why(config.search, nearest)}; or allow more in "
            "[search]"
        )
    best = max(ranked, key=lambda trial: (trial.average_precision or 0.0, -trial.number))
    note(f"the best is trial {best.number}: {_text(best)}")
    run.write(Trials(best=best.number, trials=trials))
    run.add_model({"family": config.model.family, **best.model})
    return _changed(config, best.model)


@dataclass
class _Room:
    begun: Begun

    def __post_init__(self) -> None:
        self._costs: dict[str, Cost | str] = {}

    def attempt(self, number: int, changes: Mapping[str, object]) -> Trial:
        try:
            config = _changed(self.begun.config, changes)
            found = self._cost(config)
            if isinstance(found, str):
                return Trial(number, changes, None, (found,), None)
            over = _over(self.begun.config.search, found)
            value = None if over else self._score(config)
            return Trial(number, changes, found, over, value)
        except ConfigError:
            raise
        except TinyfinError as error:
            return Trial(number, changes, None, (), None, failed=str(error))

    def _cost(self, config: Config) -> Cost | str:
        """Of the candidate's shape, measured once; the text of a target that is too small."""
        model = _probe(config.model)
        shape = json.dumps([model.family, model.hidden, model.options], sort_keys=True)
        if shape not in self._costs:
            with tempfile.TemporaryDirectory(dir=self.begun.run.path) as folder:
                probe = new_run(folder, "shape", config)
                # with what the data has decided
                shutil.copyfile(self.begun.run.file("config.toml"), probe.path / "config.toml")
                try:
                    learn(
                        probe,
                        self.begun.dataset,
                        self.begun.split,
                        replace(config, model=model),
                        baselines=(),
                    )
                    self._costs[shape] = cost_of(probe, self.begun.config.search)
                except BudgetError as error:
                    self._costs[shape] = str(error)
        return self._costs[shape]

    def _score(self, config: Config) -> float:
        dataset, split = self.begun.dataset, self.begun.split
        return validation_score(dataset, split, config, dataset.featured(config, split))


def _probe(model: Model) -> Model:
    """The same shape, learned quickly: what it costs does not depend on its weights."""
    if model.family in ("mlp", "distilled"):
        return model.model_copy(
            update={"family": "mlp", "epochs": 1, "options": {"genuine_rows": _PROBE_ROWS}}
        )
    return model.model_copy(update={"epochs": 1})


def _changed(config: Config, changes: Mapping[str, object]) -> Config:
    model = Model.model_validate(config.model.model_dump(exclude_unset=True) | dict(changes))
    family(model.family)
    return replace(config, model=model)


def _over(search: Search, cost: Cost) -> tuple[str, ...]:
    over = []
    for what, used, limit in _limits(search, cost):
        if limit is not None and used is None:
            over.append(f"{what} are not counted on {search.target}")
        elif limit is not None and used is not None and used > limit:
            over.append(f"{what} {used:,} of {limit:,}")
    return tuple(over)


def _limits(search: Search, cost: Cost) -> tuple[tuple[str, int | None, int | None], ...]:
    return (
        ("flash", cost.flash_bytes, search.max_flash),
        ("RAM with stack", cost.ram_bytes, search.max_ram),
        ("instructions", cost.instructions, search.max_instructions),
    )


def _excess(search: Search, trial: Trial) -> float:
    """How many times its limits a trial takes, of the worst of them."""
    cost = trial.cost
    if cost is None:
        return float("inf")
    return max(
        (used / limit for _, used, limit in _limits(search, cost) if limit and used), default=0.0
    )


def _why(search: Search, trial: Trial) -> str:
    """What takes most of what is too small, and which key makes it smaller."""
    if trial.cost is None:
        return ""
    over = [
        what
        for what, used, limit in _limits(search, trial.cost)
        if limit is not None and used is not None and used > limit
    ]
    return "".join(
        f"; {what}: {largest_text(trial.cost.parts[what])}"
        for what in over
        if trial.cost.parts.get(what)
    )


def _text(trial: Trial) -> str:
    words = ", ".join(f"{key} {value}" for key, value in trial.model.items())
    if trial.failed:
        return f"{words}: failed: {trial.failed}"
    if trial.cost is None or trial.over:
        return f"{words}: does not fit: {'; '.join(trial.over)}"
    count = trial.cost.instructions
    spent = f"flash {trial.cost.flash_bytes:,} B, RAM {trial.cost.ram_bytes:,} B"
    spent += "" if count is None else f", at most {count:,} instructions"
    return f"{words}: AP {trial.average_precision:.3f} on validation rows, {spent}"
