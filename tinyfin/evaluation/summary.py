# SPDX-License-Identifier: Apache-2.0
"""Many folds as one: means, intervals, spread over seeds, and what is shown apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.evaluation.attacks import by_scenario, reasons_by_scenario
from tinyfin.evaluation.calibration_interval import Terms, joined, promise
from tinyfin.evaluation.fold_metrics import MAIN, row_weights
from tinyfin.evaluation.fold_scores import FoldScores
from tinyfin.evaluation.subgroups import by_slice
from tinyfin.results.evaluation import (
    FoldFacts,
    MeanFigures,
    Means,
    Pooled,
    Promised,
    SeedFigures,
    Spans,
    TrustFigures,
)
from tinyfin.results.metrics import Action, Population, Savings
from tinyfin.training.bootstrap import draw_groups, interval, mean_of_folds, replicated_ap
from tinyfin.training.confusion import ACTION_LEVELS, at_thresholds
from tinyfin.training.metrics import average_precision, calibration_error
from tinyfin.training.monotone_curve import fit_curve
from tinyfin.training.populations import cards_of
from tinyfin.training.savings import Period, amounts_of, compare_savings
from tinyfin.training.split import known_labels

__all__ = ["intervals", "means", "pooled", "promised", "savings_of_folds", "seed_spread"]


def means(folds: Sequence[FoldFacts]) -> Means:
    """Mean of every number over the folds, by population and scorer; the worst AP next to it."""
    out: Means = {}
    for population, scorers in folds[0].populations.items() if folds else ():
        out[population] = {}
        for scorer in scorers:
            rows = [fold.populations[population][scorer] for fold in folds]
            ranked = [r.average_precision for r in rows if np.isfinite(r.average_precision)]
            out[population][scorer] = MeanFigures.model_validate(
                _mean([row.model_dump(exclude_unset=True) for row in rows])
                | {
                    "worst_fold": min(ranked, default=float("nan")),
                    "folds": len(ranked) or len(rows),
                }
            )
    return out


def _mean(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    out: dict[str, object] = {}
    for key in dict.fromkeys(k for row in rows for k in row):
        values = [row[key] for row in rows if key in row]
        inner = [v for v in values if isinstance(v, Mapping)]
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if len(inner) == len(values):
            out[key] = _mean(inner)
        elif len(numbers) == len(values):
            out[key] = _finite_mean(numbers)
    return out


def _finite_mean(values: Sequence[float]) -> float:
    """The mean of the folds that have the figure: one without a fraud has no average precision."""
    finite = [float(v) for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def intervals(
    tx: Transactions, scored: Sequence[FoldScores], prevalence: float | None, seed: int
) -> dict[Population, dict[str, Spans]]:
    """95 % intervals of the mean AP, and of the int8 model's lead over each other scorer.

    By population and scorer; the same cards are drawn for all folds and scorers, so leads are
    paired. All scorers in the first population, the int8 model in the others.
    """
    groups = np.unique(np.concatenate([cards_of(tx, s.rows) for s in scored]))
    drawn = draw_groups(len(groups), seed)
    out: dict[Population, dict[str, Spans]] = {}
    for i, population in enumerate(scored[0].populations()):
        names = list(scored[0].scores) if i == 0 else [MAIN]
        replicated: dict[str, npt.NDArray[np.float64]] = {}
        for name in names:
            each = []
            for s in scored:
                mask = s.populations()[population]
                rows = s.rows[mask]
                fraud = tx.label[rows] == 1
                group = np.searchsorted(groups, cards_of(tx, s.rows)[mask])
                each.append(
                    replicated_ap(
                        s.scores[name][mask], fraud, group, drawn, row_weights(fraud, prevalence)
                    )
                )
            replicated[name] = mean_of_folds(each)
        out[population] = {
            name: Spans(
                average_precision=interval(values),
                int8_leads_by=interval(replicated[MAIN] - values),
            )
            for name, values in replicated.items()
        }
    return out


def savings_of_folds(
    tx: Transactions, scored: Sequence[FoldScores], alert_minor: float, seed: int
) -> dict[Population, dict[str, Savings]]:
    """Mean savings over the folds, by population and scorer, with intervals; the same cards are
    drawn for all folds and scorers."""
    groups = np.unique(np.concatenate([cards_of(tx, s.rows) for s in scored]))
    out: dict[Population, dict[str, Savings]] = {}
    for population in scored[0].populations():
        periods = []
        for s in scored:
            mask = s.populations()[population]
            rows = s.rows[mask]
            periods.append(
                Period(
                    s.advice[mask] > 0,
                    {name: score[mask] for name, score in s.scores.items()},
                    tx.label[rows] == 1,
                    amounts_of(tx, rows),
                    np.searchsorted(groups, cards_of(tx, s.rows)[mask]),
                )
            )
        if found := compare_savings(MAIN, periods, len(groups), seed, alert_minor):
            out[population] = found
    return out


def seed_spread(
    tx: Transactions, by_seed: Mapping[int, Sequence[FoldScores]], prevalence: float | None
) -> dict[Population, SeedFigures]:
    """Mean AP of the int8 model over the folds, for each seed; and how far seeds are apart."""
    first = next(iter(by_seed.values()))
    out: dict[Population, SeedFigures] = {}
    for population in first[0].populations():
        values = {
            str(seed): _finite_mean([_ap(tx, s, population, prevalence) for s in scored])
            for seed, scored in by_seed.items()
        }
        all_ = list(values.values())
        out[population] = SeedFigures(
            average_precision=values,
            mean=float(np.mean(all_)),
            lowest=min(all_),
            highest=max(all_),
            standard_deviation=float(np.std(all_, ddof=1)) if len(all_) > 1 else float("nan"),
        )
    return out


def _ap(tx: Transactions, s: FoldScores, population: Population, prevalence: float | None) -> float:
    mask = s.populations()[population]
    label = tx.label[s.rows[mask]]
    return average_precision(s.scores[MAIN][mask], label, row_weights(label == 1, prevalence))


def pooled(
    tx: Transactions, scored: Sequence[FoldScores], own_reasons: Mapping[int, str]
) -> Pooled:
    """What needs all folds at once: slices, scenarios, reasons, frauds expected and observed.
    ``own_reasons``: texts of reasons of the user's own."""
    rows = np.concatenate([s.rows for s in scored])
    action = np.concatenate([s.advice for s in scored])
    reasons = np.concatenate([s.reasons for s in scored])
    p = np.concatenate([s.probability[MAIN] for s in scored])
    alert = action > 0
    expected: dict[Population, TrustFigures] = {}
    calibrated = all(s.calibrated for s in scored)
    if not calibrated:
        p = np.full(len(p), np.nan)
    ends = np.cumsum([len(s.rows) for s in scored])[:-1]

    def kept(mask: npt.NDArray[np.bool_]) -> bool:
        return promised(tx, scored, np.split(mask, ends)).within

    for population in scored[0].populations() if calibrated else ():
        masks = [s.populations()[population] for s in scored]
        mask = np.concatenate(masks)
        expected[population] = TrustFigures(
            above_threshold=promised(
                tx, scored, [m & (s.advice > 0) for m, s in zip(masks, scored, strict=True)]
            ),
            overall=promised(tx, scored, masks),
            calibration_error=calibration_error(p[mask], tx.label[rows[mask]]),
        )
    weeks = sum(s.fold.split.test_until_s - s.fold.split.until_s for s in scored) / (7 * 86_400)
    terminals = len(np.unique(tx.terminal[rows]))
    in_force: dict[Action, bool] = {
        name: any(s.decision is not None and s.decision.threshold(name) is not None for s in scored)
        for name in ACTION_LEVELS
    }
    populations: dict[Population, npt.NDArray[np.bool_]] = {
        population: np.concatenate([s.populations()[population] for s in scored])
        for population in scored[0].populations()
    }
    cards = np.concatenate([cards_of(tx, s.rows) for s in scored])
    return Pooled(
        thresholds=at_thresholds(in_force, action, tx.label[rows] == 1, cards, populations),
        expected_and_observed=expected,
        slices=by_slice(tx, rows, alert, p, kept),
        scenarios=by_scenario(tx, rows, action),
        reasons=reasons_by_scenario(tx, rows, action, reasons, own_reasons),
        transactions_per_terminal_day=len(rows) / max(terminals, 1) / max(7 * weeks, 1e-9),
    )


def promised(
    tx: Transactions, scored: Sequence[FoldScores], masks: Sequence[npt.NDArray[np.bool_]]
) -> Promised:
    """Expected and observed frauds of the masked test rows of all folds, cards and terminals as
    groups, with the uncertainty of every fold's table."""
    tested, learned = [], []
    for s, mask in zip(scored, masks, strict=True):
        rows = s.rows[mask]
        tested.append(
            Terms(rows, np.ones(len(rows)), tx.label[rows] == 1, s.probability[MAIN][mask])
        )
        fraud = known_labels(tx, s.fold.split.until_s)[s.fold.split.calibration] == 1
        curve = fit_curve(s.calibration_raw, fraud)
        learned.append(
            Terms(
                s.fold.split.calibration,
                -curve.sensitivity(s.calibration_raw, s.scores[MAIN][mask]),
                fraud,
                curve(s.calibration_raw),
            )
        )
    return promise(joined(tested), joined(learned), _groups(tx))


def _groups(tx: Transactions) -> list[npt.NDArray[np.int64]]:
    """Over all rows: terminals and cards, where there are any; a row without a card shares one with
    no other."""
    out = [tx.terminal.astype(np.int64)] if len(tx.terminals) > 1 else []
    if "token" in tx.schema.names and bool(np.any(tx.has("token"))):
        card = np.unique(tx.column("token"), return_inverse=True)[1].astype(np.int64)
        out.append(np.where(tx.has("token"), card, len(tx) + np.arange(len(tx))))
    return out
