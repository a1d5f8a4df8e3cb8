# SPDX-License-Identifier: Apache-2.0
"""The int8 model against the best that it was compared with, and without the notices it needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.fold_metrics import MAIN, row_weights
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.pages.scorers import RULES
from tinyfin.progress import stage
from tinyfin.results.evaluation import Means, Spans
from tinyfin.results.metrics import Population
from tinyfin.results.model_risk import Challenger, WithoutNotices
from tinyfin.training.bootstrap import draw_groups, interval, replicated_ap
from tinyfin.training.chunks import replay_all
from tinyfin.training.metrics import average_precision
from tinyfin.training.notices import Feed
from tinyfin.training.populations import cards_of

__all__ = ["challengers", "without_notices"]


def challengers(judged: Means, spans: Mapping[Population, Mapping[str, Spans]]) -> list[Challenger]:
    """The best rule and the best learned baseline by average precision, in the first population."""
    population, scorers = next(iter(judged.items()))
    own = scorers[MAIN].average_precision
    out = []
    for kind in ("rule", "learned"):
        names = [
            name
            for name, m in scorers.items()
            if not name.startswith("model")
            and (name in RULES) == (kind == "rule")
            and np.isfinite(m.average_precision)
        ]
        best = max(names, key=lambda name: scorers[name].average_precision, default=None)
        if best is None or best not in spans[population]:
            continue
        low, high = spans[population][best].int8_leads_by
        out.append(
            Challenger(
                kind="rule" if kind == "rule" else "learned",
                scorer=best,
                population=population,
                average_precision=scorers[best].average_precision,
                int8_leads_by=own - scorers[best].average_precision,
                interval=(low, high),
                verdict="int8 is better"
                if low > 0
                else "int8 is worse"
                if high < 0
                else "not shown to differ",
            )
        )
    return out


def without_notices(
    tx: Transactions, scored: FoldScores, prevalence: float | None, cold: bool, seed: int
) -> WithoutNotices:
    """The test rows of one fold scored again by the twin with ``notices = "none"``, from the first
    event on (``cold``: from the fold's). Nothing is scored again where no feature needs notices."""
    from tinyfin.twin import Twin

    features = Feed.of(scored.run).features
    raw, action = scored.scores[MAIN], scored.advice
    if features:
        split = scored.fold.split
        twin = Twin(scored.run.pack_bytes(), terminals=max(1, len(tx.terminals)))
        with stage(f"verdicts of {scored.fold.name} without notices"):
            found = replay_all(
                tx,
                twin,
                "none",
                ("raw", "advice"),
                until_s=split.test_until_s,
                since_s=split.until_s if cold else 0,
            )
        raw, action = (found[name][scored.rows] for name in ("raw", "advice"))
    population, mask = next(iter(scored.populations().items()))
    label = tx.label[scored.rows]
    fraud = label[mask] == 1
    weight = row_weights(fraud, prevalence)
    cards, code = np.unique(cards_of(tx, scored.rows)[mask], return_inverse=True)
    drawn = draw_groups(max(len(cards), 1), seed)
    own, lost = (
        replicated_ap(score[mask], fraud, code.astype(np.int64), drawn, weight)
        for score in (scored.scores[MAIN], raw)
    )
    with_, none = (
        average_precision(score[mask], label[mask], weight) for score in (scored.scores[MAIN], raw)
    )
    shares = [
        float(np.mean(taken[label == kind] > 0)) if np.any(label == kind) else float("nan")
        for kind in (1, 0)
        for taken in (action, scored.advice)
    ]
    return WithoutNotices(
        part=scored.fold.name,
        population=population,
        features=list(features),
        average_precision=none,
        with_notices=with_,
        loses=with_ - none,
        interval=interval(own - lost),
        recall=shares[0],
        recall_with_notices=shares[1],
        false_alerts_per_1000=1000 * shares[2],
        false_alerts_per_1000_with_notices=1000 * shares[3],
    )
