# SPDX-License-Identifier: Apache-2.0
"""The figures of one fold: every scorer on every population."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions, format_time
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.results.evaluation import FoldFacts, FoldFigures, PackFacts
from tinyfin.results.metrics import Population
from tinyfin.training.alert_metrics import (
    alert_figures,
    card_precision,
    expected_and_observed,
    precision_at,
)
from tinyfin.training.metrics import evaluate
from tinyfin.training.notices import Feed
from tinyfin.training.savings import amounts_of, highest
from tinyfin.twin import FLAGS

__all__ = ["MAIN", "fold_figures", "row_weights"]

MAIN = "model_int8"
"""The scorer that the terminal runs."""
_COLD = next(bit for bit, name in FLAGS.items() if name == "COLD")


def row_weights(
    fraud: npt.NDArray[np.bool_], prevalence: float | None
) -> npt.NDArray[np.float64] | None:
    """Weights that bring the share of fraud to ``prevalence``; None leaves it as it is."""
    frauds = int(np.count_nonzero(fraud))
    if prevalence is None or not frauds or frauds == len(fraud):
        return None
    genuine = frauds * (1 - prevalence) / prevalence / (len(fraud) - frauds)
    return np.where(fraud, 1.0, genuine)


def fold_figures(
    tx: Transactions, scored: FoldScores, *, alert_minor: float, prevalence: float | None
) -> FoldFacts:
    """Figures of all scorers on all populations.

    Alerts are the pack's own for the int8 model; another scorer alerts on as many of its highest
    scores, so that all of them make the same work.
    """
    fold, split, rows = scored.fold, scored.fold.split, scored.rows
    alert = scored.advice > 0
    populations: dict[Population, dict[str, FoldFigures]] = {}
    for name, mask in scored.populations().items():
        populations[name] = {
            scorer: _one(
                tx,
                rows[mask],
                score[mask],
                None if p is None else p[mask],
                alert[mask]
                if scorer == MAIN
                else highest(score[mask], int(np.count_nonzero(alert[mask]))),
                alert_minor,
                prevalence,
                split.until_s,
                split.test_until_s - split.until_s,
            )
            for scorer, score in scored.scores.items()
            for p in [scored.probability.get(scorer) if scored.calibrated else None]
        }
    cold = (scored.flags & _COLD) != 0
    return FoldFacts(
        name=fold.name,
        begin=format_time(split.until_s),
        end=format_time(split.test_until_s),
        cold=fold.cold,
        history_days=None if fold.history_s is None else fold.history_s / 86_400,
        cold_verdicts=float(np.mean(cold)) if len(cold) else 0.0,
        notices=Feed.of(scored.run).counts(tx, scored.run.config().data.notices, rows),
        terminals=len(np.unique(tx.terminal[rows])),
        split=scored.facts.split,
        decision=scored.decision,
        model=scored.facts.model,
        pack=_pack(scored),
        parity=scored.parity,
        populations=populations,
    )


def _pack(scored: FoldScores) -> PackFacts:
    from tinyfin.pack.container import parse_pack

    data = scored.run.pack_bytes()
    pack = parse_pack(data)
    return PackFacts(bytes=len(data), pack_id=pack.pack_id.hex(), model_id=pack.model_id.hex())


def _one(
    tx: Transactions,
    rows: npt.NDArray[np.int64],
    score: npt.NDArray[np.number],
    probability: npt.NDArray[np.float64] | None,
    alert: npt.NDArray[np.bool_],
    alert_minor: float,
    prevalence: float | None,
    start_s: int,
    seconds: int,
) -> FoldFigures:
    label = tx.label[rows]
    fraud = label == 1
    amount = amounts_of(tx, rows)
    ranked = evaluate(
        score,
        label,
        probability=probability,
        scenario=tx.scenario_code[rows],
        scenario_names=tx.scenario or (),
        weight=row_weights(fraud, prevalence),
    )
    out = FoldFigures(
        **ranked.model_dump(exclude_unset=True),
        precision_at_100=precision_at(score, fraud, 100),
        alerts=alert_figures(
            alert,
            fraud,
            amount,
            terminals=len(np.unique(tx.terminal[rows])),
            seconds=seconds,
            alert_minor=alert_minor,
        ),
    )
    if "token" in tx.schema.names and bool(np.any(tx.has("token")[rows])):
        own = tx.has("token")[rows]
        out.card_precision_100, out.card_precision_100_ceiling = card_precision(
            score[own],
            fraud[own],
            tx.column("token")[rows][own],
            tx.t_mono_s[rows][own].astype(np.int64),
            k=100,
            start_s=start_s,
        )
    if probability is not None and prevalence is None:
        out.above_threshold = expected_and_observed(probability[alert], fraud[alert])
        out.overall = expected_and_observed(probability, fraud)
    return out
