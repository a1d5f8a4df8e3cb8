# SPDX-License-Identifier: Apache-2.0
"""The reference of a run: bins of the rows that its model was made from.

Inputs and fields are those of the rows to fit, to stop and to calibrate on. Inputs that notices
move, and scores, are those of the calibration rows alone: in the first days no notice can come yet,
and rows that a model was fitted to are not scored as others are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions, format_time
from tinyfin.errors import ModelError
from tinyfin.features.check_program import names_read
from tinyfin.features.compiler import Program, compile_program
from tinyfin.pack.calibration import Calibration
from tinyfin.results.reference import ColumnBins, ColumnKind, Reference
from tinyfin.schema import Field
from tinyfin.training.notices import label_fed
from tinyfin.training.run_folder import RunFolder, Slices
from tinyfin.twin import Twin

__all__ = [
    "Binning",
    "category_bins",
    "field_bins",
    "input_bins",
    "kept_reference",
    "number_bins",
    "reference_of",
    "reference_of_data",
    "reference_of_rows",
    "reference_of_slices",
    "score_bins",
]

BINS = 10
_FEW_VALUES = 10
"""An input with at most so many codes is a category."""
_MOST_VALUES = 12
"""Categories with a bin of their own."""
_CODES = ("mcc", "currency")
"""Fields that hold ISO codes as numbers (ISO 18245, ISO 4217). Other integers may be counters,
which never come back to what they were, so of them only presence counts."""


class Binning:
    """Values to bins, as the columns of a :class:`~tinyfin.results.reference.Reference` say."""

    def __init__(self, column: ColumnBins) -> None:
        self.bins = column.bins
        self._missing = self.bins - 1
        self._edges = np.array(column.edges, np.int64)
        own = {value: i for i, value in enumerate(column.values)}
        known = sorted({*column.values, *column.rare})
        self._known = np.array(known, np.int64)
        self._bin = np.array([own.get(v, len(column.values)) for v in known], np.int64)
        self._unseen = len(column.values) + 1

    def of(
        self, values: npt.NDArray[np.integer], there: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int64]:
        """The bin of each value; ``there``: where a field is."""
        v = values.astype(np.int64)
        if len(self._known):
            at = np.minimum(np.searchsorted(self._known, v), len(self._known) - 1)
            found = np.where(self._known[at] == v, self._bin[at], self._unseen)
        else:
            found = np.searchsorted(self._edges, v).astype(np.int64)
        return found if there is None else np.where(there, found, self._missing)


def number_bins(
    name: str,
    kind: ColumnKind,
    values: npt.NDArray[np.integer],
    there: npt.NDArray[np.bool_] | None = None,
) -> ColumnBins:
    """Bins that hold equally many of the values, as far as equal values let them."""
    inside = values if there is None else values[there]
    edges: list[int] = []
    if len(inside):
        at = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(inside.astype(np.int64), at, method="lower")).tolist()
    return _counted(ColumnBins(name=name, kind=kind, edges=edges), values, there)


def category_bins(
    name: str,
    kind: ColumnKind,
    values: npt.NDArray[np.integer],
    there: npt.NDArray[np.bool_] | None = None,
    known: Sequence[int] = (),
) -> ColumnBins:
    """A bin for each of the values that come most often, or for each of ``known``."""
    found, count = np.unique(values if there is None else values[there], return_counts=True)
    order = found[np.argsort(-count, kind="stable")].tolist()
    own, rare = (list(known), []) if known else (order[:_MOST_VALUES], order[_MOST_VALUES:])
    empty = ColumnBins(name=name, kind=kind, values=sorted(own), rare=sorted(rare))
    return _counted(empty, values, there)


def _counted(
    column: ColumnBins, values: npt.NDArray[np.integer], there: npt.NDArray[np.bool_] | None
) -> ColumnBins:
    found = Binning(column).of(values, there)
    column.rows = np.bincount(found, minlength=column.bins).tolist()
    return column


def input_bins(names: Sequence[str], codes: npt.NDArray[np.int8]) -> list[ColumnBins]:
    """Of the network's inputs [n, F]."""
    few = (len(np.unique(column)) <= _FEW_VALUES for column in codes.T)
    return [
        (category_bins if is_few else number_bins)(name, "input", column)
        for name, column, is_few in zip(names, codes.T, few, strict=True)
    ]


def field_bins(tx: Transactions, rows: npt.NDArray[np.generic], program: bytes) -> list[ColumnBins]:
    """Of the fields that a feature program reads. Nothing that identifies a card is among them."""
    part, read = tx.take(rows), names_read(program, tx.schema.names)
    return [
        _field(field, part.column(field.name).astype(np.int64), part.has(field.name))
        for field in tx.schema.fields
        if field.name in read and not field.ram_only and field.unit != "token"
    ]


def _field(field: Field, values: npt.NDArray[np.int64], there: npt.NDArray[np.bool_]) -> ColumnBins:
    if field.type == "enum":
        return category_bins(field.name, "field", values, there, range(len(field.values)))
    if field.name in _CODES and there.any():
        return category_bins(field.name, "field", values, there)
    if field.unit == "minor":
        return number_bins(field.name, "field", values, there)
    return _counted(ColumnBins(name=field.name, kind="field"), values, there)


def score_bins(raw: npt.NDArray[np.int32], table: Calibration) -> ColumnBins:
    """Of the scores, from the raw ones."""
    return number_bins("score", "score", table.evaluate(raw))


def reference_of_rows(
    tx: Transactions,
    rows: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int8],
    calibration: npt.NDArray[np.bool_],
    program: Program,
    fed: Collection[str],
) -> Reference:
    """The reference of the ``rows`` of a training, n of them, without scores.

    ``codes``: their network inputs int8[n, F]; ``calibration``: which of them are calibration rows.
    """
    names = program.feature_names
    late = {column.name: column for column in input_bins(names, codes[calibration])}
    t = tx.t_mono_s[rows]
    return Reference(
        rows=len(rows),
        since=format_time(int(t.min())),
        until=format_time(int(t.max())),
        inputs=[late[c.name] if c.name in fed else c for c in input_bins(names, codes)],
        fields=field_bins(tx, rows, program.payload),
    )


def reference_of_slices(names: Sequence[str], slices: Slices) -> Reference:
    """What ``slices.npz`` says of the inputs of the calibration rows, in a run that has kept no
    more."""
    t = slices["calibration_t_s"]
    return Reference(
        rows=len(t),
        since=format_time(int(t.min())),
        until=format_time(int(t.max())),
        inputs=input_bins(names, slices["calibration"]),
    )


def reference_of_data(
    run: RunFolder, paths: Sequence[Path], twin: Twin, table: Calibration | None
) -> Reference:
    """What a run would have kept, from the files that it was trained on. Raises DataError."""
    from tinyfin.training.network_inputs import PARTS, network_inputs

    found, features = network_inputs(run, paths), run.config().features
    program = compile_program(features, found.transactions.schema, **features.capacities)
    learned = [PARTS.index(part) for part in ("fit", "validation", "calibration")]
    rows = np.flatnonzero(np.isin(found.part, learned))
    late = found.part[rows] == PARTS.index("calibration")
    codes = found.codes[rows]
    out = reference_of_rows(found.transactions, rows, codes, late, program, label_fed(features))
    if table is not None:
        out.score = score_bins(twin.infer(np.ascontiguousarray(codes[late]))[1], table)
    return out


def kept_reference(run: RunFolder) -> Reference | None:
    """What a run has kept; None for one of an earlier tinyfin. Raises ModelError for a damaged
    file."""
    if not (run.path / Reference.NAME).is_file():
        return None
    kept = run.read(Reference)
    if [column.name for column in kept.inputs] != run.facts().features.names:
        raise ModelError(f"{run.path / Reference.NAME}: is not of this run; copy the run again")
    return kept


def reference_of(run: RunFolder, twin: Twin, table: Calibration | None) -> Reference | None:
    """What a run has kept, or else what its ``slices.npz`` says. None where neither is there.
    Raises ModelError for a damaged file."""
    kept = kept_reference(run)
    if kept is not None and (kept.score is not None or table is None):
        return kept
    if not (run.path / "slices.npz").is_file():
        return kept
    slices = run.slices("calibration", "calibration_t_s")
    found = kept or reference_of_slices(run.facts().features.names, slices)
    if table is not None:
        found.score = score_bins(twin.infer(slices["calibration"])[1], table)
    return found
