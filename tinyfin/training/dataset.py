# SPDX-License-Identifier: Apache-2.0
"""Transactions and their features, once for the whole stream: every split of the data shares them.

Features are causal, labels among them only as notices, so a row's features are the same whatever
is trained on which rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.config.sections import Compromise, Risk
from tinyfin.data.events import Notices
from tinyfin.data.health import Health
from tinyfin.data.transactions import Transactions
from tinyfin.features.compiler import Program, compile_program
from tinyfin.features.expressions import outcome
from tinyfin.features.graph import walk
from tinyfin.features.selection import select
from tinyfin.progress import stage
from tinyfin.results.capacities import Capacities
from tinyfin.results.run import InputFile
from tinyfin.training.capacities import CapacityRows, capacities
from tinyfin.training.chunks import computed_features
from tinyfin.training.compromise import learn_compromise
from tinyfin.training.learned_cuts import learn_cuts
from tinyfin.training.run_folder import file_facts
from tinyfin.training.split import Split, known_labels
from tinyfin.training.target_encoding import learn_risks

__all__ = ["Dataset", "Featured", "as_known", "compute_features", "prepare"]

Note = Callable[[str], None]


@dataclass(frozen=True)
class Featured:
    """What one split makes of the dataset."""

    config: Config
    """With what was learned."""
    cuts: Mapping[str, int]
    risks: Mapping[str, Risk]
    compromise: Compromise | None
    program: Program
    features: npt.NDArray[np.int16]
    """[n, F], one row per transaction, state warm from the first of them on."""
    counters: Mapping[str, int]
    """The engine's own, summed over all terminals."""


@dataclass(frozen=True)
class Dataset:
    """What any model could be made from."""

    tx: Transactions
    files: tuple[InputFile, ...]
    """Name, path, size and SHA-256 of the files."""
    columns: frozenset[str] = frozenset()
    """Names of the files' columns."""
    _features: dict[bytes, tuple[npt.NDArray[np.int16], dict[str, int]]] = field(
        default_factory=dict, repr=False
    )
    _rows: dict[Notices, CapacityRows] = field(default_factory=dict, repr=False)

    def capacities(self, made: Featured) -> Capacities:
        """How often the tables of the terminals' memory were full."""
        notices = made.config.data.notices
        if notices not in self._rows:
            self._rows[notices] = CapacityRows.of(self.tx, notices)
        return capacities(made.program.payload, made.counters, self._rows[notices])

    def featured(self, config: Config, split: Split, *, note: Note = lambda _: None) -> Featured:
        """Cuts and tables fitted on the split's fit rows, the program and the features of all rows.

        The features of one program are computed once. Raises ConfigError.
        """
        label = known_labels(self.tx, split.until_s)
        config, cuts = learn_cuts(config, self.tx, split.fit, label, note=note)
        config, risks = learn_risks(config, self.tx, split.fit, label, note=note)
        config, compromise = learn_compromise(config, self.tx, split.fit, label, note=note)
        program = compile_program(config.features, config.schema, **config.features.capacities)
        found = self._features.get(program.payload)
        if found is None:
            _note_unmapped_action(self.tx, config, note)
            found = _through_engine(self.tx, config, program, note)
            self._features.clear()
            self._features[program.payload] = found
        return Featured(config, cuts, risks, compromise, program, *found)


def prepare(
    paths: Sequence[str | Path],
    config: Config,
    *,
    skip_bad_rows: str | Path | None = None,
    note: Note = lambda _: None,
) -> Dataset:
    """Read the files. Raises DataError, ConfigError."""
    from tinyfin.data.readers import read
    from tinyfin.data.tables import column_names

    tx = read(list(paths), config, compact=True, skip_bad_rows=skip_bad_rows, progress=note)
    _warn_of_missing_labels(tx, config, note)
    health = Health(config)
    with stage("checking the data"):
        health.add(tx)
        remarks = health.remarks()
    for remark in remarks:
        note(remark)
    columns = frozenset(name for path in paths for name in column_names(path, config.data))
    with stage("hashing the files"):
        return Dataset(tx, tuple(file_facts(paths)), columns)


def compute_features(
    tx: Transactions, config: Config, program: Program, *, note: Note = lambda _: None
) -> npt.NDArray[np.int16]:
    """Features int16[n, F] of every transaction, by the terminal's own engine, state warm.

    Labels reach the engine as notices only, when they become known.
    """
    return _through_engine(tx, config, program, note)[0]


def _through_engine(
    tx: Transactions, config: Config, program: Program, note: Note
) -> tuple[npt.NDArray[np.int16], dict[str, int]]:
    """Features, and the engine's counters."""
    note(f"features: {len(tx)} transactions of {len(tx.terminals)} terminals")
    return computed_features(tx, config, program, "features")


def _warn_of_missing_labels(tx: Transactions, config: Config, note: Note) -> None:
    """Labels on frauds alone, or on less than half of the rows."""
    unlabelled, genuine, frauds = (int(np.count_nonzero(tx.label == x)) for x in (-1, 0, 1))
    hint = 'if an empty label means genuine, say so in [data] label: values = {"" = 0}'
    if config.labels.files:
        hint = 'if no label means genuine, say so in [labels]: unlisted = "genuine"'
    if frauds and not genuine:
        note(
            f"WARNING: {unlabelled} of {len(tx)} rows have no label, and all others are frauds: no "
            f"row is known to be genuine, so no model can be trained on labels; {hint}"
        )
    elif (frauds or genuine) and unlabelled > len(tx) // 2:
        note(
            f"WARNING: {unlabelled} of {len(tx)} rows have no label: a model that trains on "
            f"labels is neither trained nor tested on these rows; {hint}"
        )


def _note_unmapped_action(tx: Transactions, config: Config, note: Note) -> None:
    """Features that learn from what the terminal did, of transactions that were all accepted."""
    action = outcome("action")
    if not len(tx) or tx.action.any():
        return
    names = [
        f.name
        for f in select(config.features)
        if any((x.operator, x.p2) == (action.operator, action.p2) for x in walk(f.expression))
    ]
    if names:
        note(
            f"features: {', '.join(names)} learn{'s' if len(names) == 1 else ''} from the action "
            "taken, which is accept in every row; map it in [data] (action = ...) if terminals "
            "did anything else"
        )


def as_known(tx: Transactions, until_s: int) -> Transactions:
    """The transactions before ``until_s`` with the labels that were known by then, and no others.

    Its fingerprint names what a model that goes live at ``until_s`` can have been made from.
    """
    part = tx.before(until_s)
    label, known_s, revised = part.labels_at(until_s)
    return replace(
        part,
        label=label,
        label_known_s=known_s,
        revised=revised,
        scenario=None,
        scenario_code=np.zeros(len(part), np.int16),
    )
