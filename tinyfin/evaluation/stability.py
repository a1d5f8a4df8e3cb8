# SPDX-License-Identifier: Apache-2.0
"""The int8 model over time, and from it what to expect of it in service."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.data_quality import population_stability
from tinyfin.evaluation.fold_metrics import MAIN, row_weights
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.evaluation.summary import promised
from tinyfin.results.evaluation import FoldFacts, Means, Quality, Spans
from tinyfin.results.metrics import Population
from tinyfin.results.model_risk import Limit, Measure, PartStability, Stability, Trend
from tinyfin.training.bootstrap import draw_groups, interval, replicated_ap
from tinyfin.training.confusion import share
from tinyfin.training.notices import FEW
from tinyfin.training.populations import cards_of

__all__ = ["limits", "share_interval", "stability", "trend"]

NAN = float("nan")


def stability(
    tx: Transactions,
    scored: Sequence[FoldScores],
    folds: Sequence[FoldFacts],
    prevalence: float | None,
    seed: int,
) -> Stability:
    """Part by part, and the spread over the parts; ``folds``: the figures of ``scored``. Parts
    without a meaning of time have no slope."""
    ordered = folds[0].history_days is not None
    population = next(iter(scored[0].populations()))
    parts = [
        _part(tx, s, facts, population, prevalence, seed)
        for s, facts in zip(scored, folds, strict=True)
    ]
    return Stability(
        population=population,
        parts=parts,
        average_precision=trend([p.average_precision for p in parts], ordered),
        false_alerts_per_1000=trend([p.false_alerts_per_1000 for p in parts], ordered),
        observed_to_expected=trend(
            [
                _ratio(p.promised.observed, p.promised.expected) if p.promised else NAN
                for p in parts
            ],
            ordered,
        ),
    )


def _part(
    tx: Transactions,
    s: FoldScores,
    facts: FoldFacts,
    population: Population,
    prevalence: float | None,
    seed: int,
) -> PartStability:
    mask = s.populations()[population]
    cards, group = np.unique(cards_of(tx, s.rows)[mask], return_inverse=True)
    fraud = tx.label[s.rows] == 1
    replicated = replicated_ap(
        s.scores[MAIN][mask],
        fraud[mask],
        group.astype(np.int64),
        draw_groups(max(len(cards), 1), seed),
        row_weights(fraud[mask], prevalence),
    )
    low, high = share_interval(s.advice > 0, ~fraud, cards_of(tx, s.rows), seed)
    budget = facts.decision.budget if facts.decision is not None else None
    return PartStability(
        name=facts.name,
        cold=facts.cold,
        frauds=int(np.count_nonzero(fraud)),
        average_precision=facts.populations[population][MAIN].average_precision,
        average_precision_interval=interval(replicated),
        false_alerts_per_1000=facts.populations["all"][MAIN].alerts.false_alerts_per_1000,
        false_alerts_interval=(1000 * low, 1000 * high),
        budget_per_1000=None if budget is None else budget.go_online_per_1000,
        promised=promised(tx, [s], [np.ones(len(s.rows), bool)])
        if s.calibrated and prevalence is None
        else None,
    )


def share_interval(
    event: npt.NDArray[np.bool_],
    mask: npt.NDArray[np.bool_],
    group: npt.NDArray[np.generic],
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of the share of ``mask`` that is ``event``: bootstrap over groups, never
    narrower than Wilson's. NaN without a row."""
    code = np.unique(group, return_inverse=True)[1]
    return share(np.bincount(code, event & mask), np.bincount(code, mask), seed)[1]


def trend(values: Sequence[float], ordered: bool = True) -> Trend:
    """Spread of figures in order of time and their slope per part: least squares, with the interval
    of Student's t for n - 2 degrees of freedom. Parts without the figure are left out."""
    from scipy.stats import linregress, t

    y = np.asarray(values, np.float64)
    x = np.flatnonzero(np.isfinite(y))
    y = y[x]
    slope, half = NAN, NAN
    if len(x) >= 2 and ordered:
        fit = linregress(x, y)
        slope = float(fit.slope)
        half = float(t.ppf(0.975, len(x) - 2) * fit.stderr) if len(x) >= 3 else NAN
    return Trend(
        lowest=float(y.min()) if len(y) else NAN,
        highest=float(y.max()) if len(y) else NAN,
        slope=slope,
        interval=(slope - half, slope + half),
    )


def limits(
    tx: Transactions,
    scored: Sequence[FoldScores],
    folds: Sequence[FoldFacts],
    judged: Means,
    spans: dict[Population, dict[str, Spans]],
    quality: Quality,
    config: Config,
) -> dict[Measure, Limit]:
    """What to expect in service, of rows like the test rows of all parts; thresholds and their
    promise are the last part's. The limits of drift are those of [monitor]."""
    prevalence, drift = config.evaluate.prevalence, config.monitor
    rows = np.concatenate([s.rows for s in scored])
    alert = np.concatenate([s.advice for s in scored]) > 0
    cards = np.concatenate([cards_of(tx, s.rows) for s in scored])
    everything = np.ones(len(rows), bool)
    low, high = share_interval(alert, everything, cards)
    last, decision = scored[-1], folds[-1].decision
    found: dict[Measure, Limit] = {
        "alerts_per_1000": _limit(1000 * float(np.mean(alert)), 1000 * low, 1000 * high)
    }
    genuine = tx.label[rows] == 0
    low, high = share_interval(alert, genuine, cards)
    promise = decision.promise.get("go_online") if decision is not None else None
    found["false_alerts_per_1000"] = _limit(
        1000 * float(np.mean(alert[genuine])) if np.any(genuine) else NAN,
        NAN,
        1000 * high,
        promise.at_most_per_1000
        if promise is not None and promise.at_most_per_1000 > 1000 * high
        else NAN,
    )
    if prevalence is None and all(s.calibrated for s in scored):
        whole = promised(
            tx, scored, np.split(everything, np.cumsum([len(s.rows) for s in scored])[:-1])
        )
        found["observed_to_expected"] = _limit(
            _ratio(whole.observed, whole.expected),
            _ratio(whole.low, whole.expected),
            _ratio(whole.high, whole.expected),
        )
    population = next(iter(judged))
    span = spans[population][MAIN].average_precision
    found["average_precision"] = _limit(judged[population][MAIN].average_precision, span[0], NAN)
    if len(last.calibration_raw):
        index = population_stability(last.calibration_raw, last.scores[MAIN])
        found["score_stability_index"] = _limit(index, NAN, drift.psi_warning, drift.psi_failed)
    if quality.drift:
        found["feature_stability_index"] = _limit(
            quality.drift[0].stability_index, NAN, drift.psi_warning, drift.psi_failed
        )
    notices = folds[-1].notices
    if not notices["unused"]:
        missing = _ratio(notices["missing"], sum(notices.values()))
        found["without_notices_per_1000"] = _limit(1000 * missing, NAN, 1000 * FEW)
    return found


def _limit(expected: float, low: float, high: float, acts_at: float = NAN) -> Limit:
    return Limit(expected=expected, low=low, high=high, acts_at=acts_at)


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else NAN
