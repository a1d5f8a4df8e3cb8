# SPDX-License-Identifier: Apache-2.0
"""Labels that models doubt which have not seen them: where to look for wrong ones first.

A row is judged by a model of other terminals, as confident learning asks for (C. Northcutt, L.
Jiang and I. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70, 2021).
A doubted label need not be wrong: rare frauds look genuine, and rare business like fraud.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.config import Features
from tinyfin.data.transactions import Transactions, format_time
from tinyfin.features.graph import walk
from tinyfin.features.selection import select
from tinyfin.progress import stage
from tinyfin.results.evaluation import DoubtedLabel, Doubts
from tinyfin.training.label_delays import reports_end_s
from tinyfin.training.representative_sample import thinned

__all__ = ["DOUBTED_LABELS", "LISTED", "doubts", "write_doubts"]

DOUBTED_LABELS = "doubted_labels.csv"
LISTED = 100
_FOLDS = 5
_FEWEST = 2 * _FOLDS
_GENUINE_ROWS = 100_000
_LEARNED = frozenset({"LOOKUP", "COMPROMISED"})
"""Operators whose tables training made of the labels."""


def doubts(
    tx: Transactions, features: npt.NDArray[np.int16], section: Features, seed: int
) -> Doubts | None:
    """The labels that gradient-boosted trees doubt most, half of them frauds that look genuine and
    half genuine ones that look like fraud, as far as there are so many.

    features: int16[n, F], those of ``section``. Cross-fitted in five parts (fewer where there are
    fewer terminals) that share no terminal; where all rows are of one, parts are of rows. Features
    with tables that were learned from labels are left out, and so are rows that are too recent for
    fraud reports. None with fewer than ten frauds or genuine rows.
    """
    from threadpoolctl import threadpool_limits

    rows = np.flatnonzero(tx.label >= 0)
    reported_s = reports_end_s(tx)
    if reported_s is not None:
        rows = rows[tx.t_mono_s[rows] < reported_s]
    fraud = tx.label[rows] == 1
    if min(np.count_nonzero(fraud), np.count_nonzero(~fraud)) < _FEWEST:
        return None
    independent = [
        i
        for i, feature in enumerate(select(section))
        if not _LEARNED & {node.operator.name for node in walk(feature.expression)}
    ]
    terminal = np.unique(tx.terminal[rows], return_inverse=True)[1]
    by_terminal = bool(terminal.max())
    # threads that wait for each other actively would take ten times as long on a busy machine
    with stage("labels that models doubt"), threadpool_limits(1):
        score, parts = _cross_fitted(
            features[rows][:, independent], fraud, terminal if by_terminal else None, seed
        )
    listed = []
    order = np.lexsort((rows, score))
    frauds, genuine = order[fraud[order]], order[::-1][~fraud[order[::-1]]]
    for side, other in ((frauds, genuine), (genuine, frauds)):
        most = max(LISTED // 2, LISTED - len(other))
        for rank, i in enumerate(side[:most].tolist(), 1):
            row = int(rows[i])
            listed.append(
                DoubtedLabel(
                    rank=rank,
                    label="fraud" if fraud[i] else "genuine",
                    score=float(score[i]),
                    input_row=int(tx.row[row]),
                    id=int(tx.id[row]),
                    terminal=tx.terminals[tx.terminal[row]],
                    time=format_time(tx.t_mono_s[row]),
                )
            )
    return Doubts(
        rows=len(rows),
        frauds=int(np.count_nonzero(fraud)),
        parts=parts,
        held_out="terminals" if by_terminal else "transactions",
        labels=listed,
    )


def _cross_fitted(
    x: npt.NDArray[np.int16],
    fraud: npt.NDArray[np.bool_],
    terminal: npt.NDArray[np.int64] | None,
    seed: int,
) -> tuple[npt.NDArray[np.float64], int]:
    """Probability of fraud of each row by a model that has seen no row of its terminal, and the
    number of models."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    grouped = terminal is not None
    parts = min(_FOLDS, int(terminal.max()) + 1) if terminal is not None else _FOLDS
    cut = (StratifiedGroupKFold if grouped else StratifiedKFold)(
        parts, shuffle=True, random_state=seed
    )
    score = np.full(len(x), float(np.mean(fraud)))
    for learned, tested in cut.split(x, fraud, terminal):
        own = fraud[learned]
        if not own.any() or own.all():  # all frauds are of the terminals that are held out
            continue
        taken = thinned(own.astype(np.int8), _GENUINE_ROWS, seed)
        weight = np.where(own[taken], 1.0, max(1.0, np.count_nonzero(~own) / _GENUINE_ROWS))
        model = HistGradientBoostingClassifier(
            max_iter=50,
            max_leaf_nodes=15,
            learning_rate=0.2,
            l2_regularization=5.0,
            early_stopping=False,
            random_state=seed % (1 << 31),
        )
        model.fit(x[learned[taken]], own[taken], sample_weight=weight)
        score[tested] = model.predict_proba(x[tested])[:, 1]
    return score, parts


def write_doubts(path: Path, found: Doubts) -> Path:
    """The list as a CSV file. Raises InputError when it cannot be written."""
    with (
        files.whole(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out,
    ):
        writer = csv.writer(out)
        writer.writerow(DoubtedLabel.model_fields)
        writer.writerows(label.model_dump().values() for label in found.labels)
    return path
