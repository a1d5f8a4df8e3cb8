# SPDX-License-Identifier: Apache-2.0
"""The best model that a terminal can afford: ``[search]`` tried, measured, ranked.

What a shape of network costs is measured before anything of that shape is trained: flash, RAM and
instructions do not depend on what the weights are. Trials are ranked by average precision on the
validation rows, which are later than the rows they train on; calibration and test rows take no
part. Every trial is kept in ``trials.json``; until the run is there, next to it, so that a search
that was cut off goes on with the trials that it had.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinyfin import __version__, files
from tinyfin.config import Config, Model, Search, with_features
from tinyfin.errors import BudgetError, ConfigError, TinyfinError
from tinyfin.features.auto import AUTO_NAME
from tinyfin.features.selection import select
from tinyfin.measure.run_costs import cost_of, largest_text, require_tools
from tinyfin.progress import stage
from tinyfin.results.trials import Cost, Trial, Trials
from tinyfin.training.families import family
from tinyfin.training.fit import learn
from tinyfin.training.run_folder import RunFolder, checked_path, making_run, new_run
from tinyfin.training.validation_score import validation_score
from tinyfin.training.workflow import Begun, begin, finish, part

__all__ = ["Candidate", "Trial", "candidates", "search"]

Note = Callable[[str], None]
Changes = Mapping[str, object]

_KEYS = ("family", "hidden", "learning_rate", "l2", "dropout")
_FEATURE_KEYS = ("names", "max_state")
_PROBE_ROWS = 5000


class Candidate(NamedTuple):
    """What to try, as changes to the configuration."""

    features: Changes
    """Keys of [features]."""
    model: Changes
    """Keys of [model]."""


def candidates(search: Search, model: Model) -> list[Candidate]:
    """All combinations, or ``search.trials`` of them; those of the same features together."""
    lists = {key: getattr(search, key) for key in _KEYS if getattr(search, key)}
    features = {key: getattr(search, key) for key in _FEATURE_KEYS if getattr(search, key)}
    options = [
        dict(zip(search.options, values, strict=True))
        for values in itertools.product(*search.options.values())
    ]
    grid = [
        Candidate(
            dict(zip(features, sets, strict=True)),
            dict(zip(lists, values, strict=True))
            | ({"options": model.options | more} if more else {}),
        )
        for sets in itertools.product(*features.values())
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

    The same call goes on with the trials of one that was cut off; those of other data, another
    configuration or another tinyfin are tried again. Raises BudgetError when nothing fits,
    ToolError when something is missing that builds for the target or boots it, and what training
    raises.
    """
    require_tools(config.search)
    for names in config.search.names or ():
        if names != AUTO_NAME:
            select(with_features(config, {"names": names}).features)
    with making_run(out, name, config) as run:
        begun = begin(run, paths, config, until_s, seed, skip_bad_rows, note, searching=True)
        kept = _Kept(checked_path(out, name), begun, until_s)
        try:
            chosen = _best(begun, config, until_s, kept, note)
        except BudgetError:
            kept.path.unlink(missing_ok=True)
            raise
        finish(*chosen, note=note)
    kept.path.unlink(missing_ok=True)
    return RunFolder(Path(out) / name)


class _Kept:
    """The trials of a search that has not ended, in a file next to the run that it will make."""

    def __init__(self, run: Path, begun: Begun, until_s: int | None) -> None:
        self.path = run.with_name(f"{run.name}.{Trials.NAME}")
        config = begun.run.file("config.toml").read_text(encoding="utf-8")
        seed, of = begun.config.model.seed, [file.sha256 for file in begun.dataset.files]
        what = json.dumps([__version__, config, of, until_s, seed])
        self._made_of = hashlib.sha256(what.encode()).hexdigest()

    def read(self, note: Note) -> list[Trial]:
        """Those that need not be tried again."""
        if not self.path.is_file():
            return []
        found = Trials.parse(json.loads(self.path.read_text(encoding="utf-8")), str(self.path))
        if found.made_of != self._made_of:
            note(
                f"{self.path}: its trials are of other data, another configuration or another "
                "tinyfin: tried again"
            )
            return []
        done = [trial for trial in found.trials if not trial.failed]
        note(f"{self.path}: goes on with the {len(done)} trials of a search that was cut off")
        return done

    def write(self, trials: Sequence[Trial]) -> None:
        content = Trials(trials=list(trials), made_of=self._made_of).as_json()
        files.write(self.path, json.dumps(content, indent=2) + "\n")


def _best(
    begun: Begun, asked: Config, until_s: int | None, kept: _Kept, note: Note
) -> tuple[Begun, Config]:
    """Try everything; the run and the configuration of the best that fits, which is written into
    the run."""
    run, config = begun.run, begun.config
    room = _Room(begun, asked, until_s)
    tries = candidates(config.search, config.model)
    done_before = {_key(t.features, t.model): t for t in kept.read(note)}
    trials: list[Trial] = []
    with stage("searching", len(tries)) as done:
        for number, changes in enumerate(tries, 1):
            done.text = f"trial {number} of {len(tries)}"
            before = done_before.get(_key(*changes))
            trial = room.attempt(number, changes) if before is None else before
            trials.append(replace(trial, number=number))
            run.write(Trials(trials=trials))
            kept.write(trials)
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
    chosen = room.with_features(best.features)
    files.write(run.path / "config.toml", room.text)
    run.add_model({"family": config.model.family, **best.model})
    return replace(chosen, run=run), _changed(chosen.config, best.model)


def _key(features: Changes, model: Changes) -> str:
    return json.dumps([features, model], sort_keys=True)


@dataclass
class _Room:
    """Where trials are made."""

    begun: Begun
    asked: Config
    """The configuration as it was given: what it leaves to the data is left open."""
    until_s: int | None

    def __post_init__(self) -> None:
        self._costs: dict[str, Cost | str] = {}
        self._features: Changes = {}
        self._as_begun = self.begun
        self.text = self._text_as_begun = self._text_of(self.begun.run)

    @staticmethod
    def _text_of(run: RunFolder) -> str:
        return run.file("config.toml").read_text(encoding="utf-8")

    def with_features(self, changes: Changes) -> Begun:
        """The run with these features; :attr:`text` is its configuration then."""
        if changes != self._features:
            self._features = changes
            self.begun, self.text = self._as_begun, self._text_as_begun
            if changes:
                self.begun, self.text = self._settled(changes)
        return self.begun

    def _settled(self, changes: Changes) -> tuple[Begun, str]:
        begun = self._as_begun
        with tempfile.TemporaryDirectory(dir=begun.run.path) as folder:
            config = with_features(replace(self.asked, model=begun.config.model), changes)
            run = new_run(folder, "features", config)
            config, split = part(run, begun.dataset, config, self.until_s, named=True)
            return Begun(run, begun.dataset, split, config), self._text_of(run)

    def attempt(self, number: int, changes: Candidate) -> Trial:
        found: Cost | None = None
        try:
            begun = self.with_features(changes.features)
            config = _changed(begun.config, changes.model)
            cost = self._cost(changes.features, config)
            if isinstance(cost, str):
                return Trial(number, changes.model, None, (cost,), None, features=changes.features)
            found, over = cost, _over(config.search, cost)
            value = None if over else self._score(config)
            return Trial(number, changes.model, found, over, value, features=changes.features)
        except ConfigError:
            raise
        except TinyfinError as error:
            return Trial(
                number, changes.model, None, (), None, failed=str(error), features=changes.features
            )

    def _cost(self, features: Changes, config: Config) -> Cost | str:
        """Of the candidate's shape, measured once; the text of a target that is too small."""
        model = _probe(config.model)
        shape = _key(features, {"model": [model.family, model.hidden, model.options]})
        if shape not in self._costs:
            with tempfile.TemporaryDirectory(dir=self._as_begun.run.path) as folder:
                probe = new_run(folder, "shape", config)
                files.write(probe.path / "config.toml", self.text)  # with what the data has decided
                try:
                    learn(
                        probe,
                        self.begun.dataset,
                        self.begun.split,
                        replace(config, model=model),
                        baselines=(),
                    )
                    self._costs[shape] = cost_of(probe, config.search)
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


def _changed(config: Config, changes: Changes) -> Config:
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
    changed = {**trial.features, **trial.model}
    words = ", ".join(f"{key} {value}" for key, value in changed.items())
    if trial.failed:
        return f"{words}: failed: {trial.failed}"
    if trial.cost is None or trial.over:
        return f"{words}: does not fit: {'; '.join(trial.over)}"
    count = trial.cost.instructions
    spent = f"flash {trial.cost.flash_bytes:,} B, RAM {trial.cost.ram_bytes:,} B"
    spent += "" if count is None else f", at most {count:,} instructions"
    return f"{words}: AP {trial.average_precision:.3f} on validation rows, {spent}"
