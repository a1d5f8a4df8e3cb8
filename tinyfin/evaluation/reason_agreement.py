# SPDX-License-Identifier: Apache-2.0
"""How often the reasons that the device gives are those that Shapley values give."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.explanation.shapley import reason_ids, shapley_values, strongest
from tinyfin.progress import stage
from tinyfin.results.model_risk import ReasonAgreement
from tinyfin.training.confusion import share
from tinyfin.training.populations import cards_of

__all__ = ["reason_agreement"]

_ALERTS = 100
_PERMUTATIONS = 30
"""Fewer than one explanation draws: only the order of the largest values counts."""


def reason_agreement(
    tx: Transactions, scored: Sequence[FoldScores], seed: int
) -> ReasonAgreement | None:
    """Over at most 100 alerts that ``seed`` draws of all folds, each with its own pack; the inputs
    are those of warm state. None without an alert, and without the package shap."""
    of = [np.flatnonzero(s.advice > 0) for s in scored]
    places = [(fold, int(i)) for fold, rows in enumerate(of) for i in rows]
    if not places or find_spec("shap") is None:
        return None
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(places), min(_ALERTS, len(places)), replace=False))
    cards: list[npt.NDArray[np.generic]] = []
    counted: list[tuple[bool, int, int]] = []
    with stage("reasons and Shapley values", len(chosen), "alerts") as running:
        for fold, s in enumerate(scored):
            rows = np.array([places[c][1] for c in chosen if places[c][0] == fold], np.int64)
            if len(rows):
                cards.append(cards_of(tx, s.rows)[rows])
                given = ([r for r in row if r] for row in s.reasons[rows].tolist())
                for own, other in zip(given, _by_shapley(s, rows), strict=True):
                    counted.append((own[:1] == other[:1], len({*own} & {*other}), len(other)))
            running.step(len(rows))
    first, common, named = np.array(counted, np.int64).T
    code = np.unique(np.concatenate(cards), return_inverse=True)[1]
    of_first = share(np.bincount(code, first).astype(int), np.bincount(code), seed)
    hits, asked = (np.bincount(code, n).astype(int) for n in (common, named))
    of_three = share(hits, asked, seed)
    return ReasonAgreement(
        alerts=len(counted),
        of_alerts=len(places),
        first=of_first[0],
        first_interval=of_first[1],
        three=of_three[0],
        three_interval=of_three[1],
    )


def _by_shapley(s: FoldScores, rows: npt.NDArray[np.int64]) -> list[list[int]]:
    """At most three reasons for each of a fold's test rows, ranked by Shapley values."""
    from tinyfin.pack.container import parse_pack
    from tinyfin.twin import Twin

    data = s.run.pack_bytes()
    decision, twin = parse_pack(data).decision, Twin(data)
    assert decision is not None  # every pack of a run has one
    inputs, raw = s.run.slices("test")["test"][rows], s.scores[MAIN][rows].astype(np.int64)
    found = shapley_values(
        s.run, lambda codes: twin.infer(codes)[1], inputs, raw, permutations=_PERMUTATIONS
    )
    return [*map(strongest, found.values, reason_ids(decision, inputs))]
