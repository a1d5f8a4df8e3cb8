# SPDX-License-Identifier: Apache-2.0
"""The reference of a run: bins of the rows that its probabilities and thresholds were set on.

Those are the calibration rows: the last ones before the model went live whose labels were known, so
their state was warm and their notices came, as in service. Earlier rows of the training are from
days when terminals knew nothing yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions, format_time
from tinyfin.features.check_program import names_read
from tinyfin.pack.calibration import Calibration
from tinyfin.results.reference import ColumnBins, ColumnKind, Reference
from tinyfin.schema import Field
from tinyfin.training.run_folder import RunFolder, Slices
from tinyfin.twin import Twin

__all__ = [
    "Binning",
    "category_bins",
    "field_bins",
    "fields_of_data",
    "input_bins",
    "number_bins",
    "reference_of",
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
        self.bins = len(column.rows)
        self._missing = self.bins - 1 if column.kind == "field" else -1
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
    return _counted(ColumnBins(name=name, kind=kind, edges=edges, rows=[]), values, there)


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
    empty = ColumnBins(name=name, kind=kind, values=sorted(own), rare=sorted(rare), rows=[])
    return _counted(empty, values, there)


def _counted(
    column: ColumnBins, values: npt.NDArray[np.integer], there: npt.NDArray[np.bool_] | None
) -> ColumnBins:
    bins = len(column.values) + 2 if column.values else len(column.edges) + 1
    column.rows = [0] * (bins + (column.kind == "field"))
    found = Binning(column).of(values, there)
    column.rows = np.bincount(found, minlength=len(column.rows)).tolist()
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
    return _counted(ColumnBins(name=field.name, kind="field", rows=[]), values, there)


def score_bins(raw: npt.NDArray[np.int32], table: Calibration) -> ColumnBins:
    """Of the scores, from the raw ones."""
    return number_bins("score", "score", table.evaluate(raw))


def reference_of_slices(names: Sequence[str], slices: Slices) -> Reference:
    """What the calibration rows of ``slices.npz`` say of the inputs."""
    t = slices["calibration_t_s"]
    return Reference(
        rows=len(t),
        since=format_time(int(t.min(initial=2**32 - 1)) if len(t) else 0),
        until=format_time(int(t.max(initial=0))),
        inputs=input_bins(names, slices["calibration"]),
    )


def reference_of(run: RunFolder, twin: Twin, table: Calibration | None) -> Reference | None:
    """What a run has kept; of one made before it was kept, what ``slices.npz`` says. None where
    neither is there. Raises ModelError for a damaged file."""
    kept = run.read(Reference) if (run.path / Reference.NAME).is_file() else None
    if kept is not None and (kept.score is not None or table is None):
        return kept
    if not (run.path / "slices.npz").is_file():
        return kept
    slices = run.slices()
    found = kept or reference_of_slices(run.facts().features.names, slices)
    if table is not None and len(slices["calibration"]):
        found.score = score_bins(twin.infer(slices["calibration"])[1], table)
    return found


def fields_of_data(run: RunFolder, paths: Sequence[Path]) -> list[ColumnBins]:
    """Fields of the calibration rows, from the files that the run was trained on."""
    from tinyfin.data.readers import read
    from tinyfin.training.network_inputs import PARTS, Partition

    tx = read(list(paths), run.config(), compact=True)
    rows = np.flatnonzero(Partition.of(run).part(tx) == PARTS.index("calibration"))
    return field_bins(tx, rows, run.file("program.bin").read_bytes())
