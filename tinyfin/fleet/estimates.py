# SPDX-License-Identifier: Apache-2.0
"""Precision and recall of a pack in a fleet: estimated without labels, and as labels have it.

Without labels: where a score is a calibrated probability, the expected frauds among n alerts are
the sum of their scores (confidence-based performance estimation, CBPE, in the documentation of
NannyML, "How it works"; average confidence in D. Guillory et al., "Predicting with Confidence on
Unseen Distributions", ICCV 2021). It rests on two things: the probabilities are right, and what has
changed is which events come, not which of them are frauds.

Terminals report counts by bin, not scores. A release puts into the lineage of its pack how large
the scores of each bin were on average; of a pack without that, the edges of a bin bound them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinyfin.documents import Facts
from tinyfin.fleet.lake import Lake, date_of
from tinyfin.fleet.monitors import FleetCounts, Ints, read_counts
from tinyfin.fleet.views import connect
from tinyfin.pack.container import Pack
from tinyfin.training.bootstrap import Z, wilson

if TYPE_CHECKING:
    import duckdb

__all__ = ["Estimate", "Realised", "estimated", "estimated_on", "precision", "realised_on"]

MATURE_DAYS = 28
"""Of the newest days with mature labels, that realised figures are of."""
_ONE = 1 << 32
Reals = npt.NDArray[np.float64]
Interval = tuple[float, float]
Share = tuple[float, float, float]
"""A share, and the low and the high end of its 95 % interval."""

_LABELLED = f"""
    WITH ran AS (
        SELECT terminal, day, min(pack) AS pack FROM terminal_day GROUP BY terminal, day
        HAVING count(*) = 1
    ), last AS (SELECT max(day) AS day FROM notice_day WHERE mature)
    SELECT terminal, min(day) AS first, max(day) AS last,
        count(*) FILTER (alerted)::DOUBLE AS alerts,
        count(*) FILTER (alerted AND fraud)::DOUBLE AS hits,
        count(*) FILTER (fraud)::DOUBLE AS frauds
    FROM label_now JOIN ran USING (terminal, day) CROSS JOIN last
    WHERE pack = ? AND alerted IS NOT NULL AND label_now.day <= last.day
        AND label_now.day > last.day - {MATURE_DAYS}
    GROUP BY terminal"""


class Estimate(Facts):
    """Precision and recall at the pack's own thresholds, expected of what a fleet has counted.

    Intervals hold what bins leave open and 95 % of chance, with terminals as clusters."""

    first_day: str
    last_day: str
    events: int
    exact_bins: bool
    """By mean scores of the bins at release; false: by their edges."""
    precision: Interval
    recall: Interval
    promised_precision: float
    """The same of the release; with edges, the least that it can be."""
    promised_recall: float


class Realised(Facts):
    """Precision and recall of transactions with mature labels that say whether there was an
    alert."""

    first_day: str
    last_day: str
    alerts: int
    frauds: int
    precision: Share | None
    recall: Share | None


def estimated(pack: Pack, counts: Ints) -> tuple[Interval, Interval] | None:
    """Precision and recall that a pack's scores let expect of counts int64[T, bins] of its score's
    histogram; None without an event that may be an alert, and of scores that are no
    probabilities."""
    if pack.drift is None or pack.decision is None or pack.meta.get("score") != "probability":
        return None
    at = pack.decision.alert_q32
    if at is None or not counts.sum():
        return None
    low, high, _ = _means(pack)
    edges = np.array([0, *pack.drift.score.edges, _ONE], np.float64) / _ONE
    threshold = at / _ONE
    found = []
    # of a bin that the threshold divides none of the events are alerts, or all are
    for hit in (edges[:-1] >= threshold, edges[1:] > threshold):
        least = np.where(hit, np.maximum(low, threshold), low)
        most = np.where(hit, high, np.minimum(high, threshold))
        if counts[:, hit].any():
            found.append(_expected(counts, hit, least, most))
    if not found:
        return None
    low_ends, high_ends = np.min(found, axis=0)[:, 0], np.max(found, axis=0)[:, 1]
    if len(found) == 1:
        low_ends[1] = 0.0  # there may be no alert at all
    precision, recall = zip(np.maximum(low_ends, 0.0), np.minimum(high_ends, 1.0), strict=True)
    return (float(precision[0]), float(precision[1])), (float(recall[0]), float(recall[1]))


def _expected(counts: Ints, hit: npt.NDArray[np.bool_], low: Reals, high: Reals) -> Reals:
    """[[low, high] of the precision, the same of the recall] where the bins ``hit`` are alerts."""
    n, middle = counts.sum(0).astype(np.float64), (low + high) / 2
    (a, b), (c, d) = (((n * x)[hit].sum(), (n * x)[~hit].sum()) for x in (low, high))
    own, all_ = (counts[:, hit] * middle[hit]).sum(1), (counts * middle).sum(1)
    chance = n * middle * (1 - middle)
    alerts, share = counts[:, hit].sum(1), float(own.sum() / all_.sum())
    once = _spread(own, alerts, float(own.sum() / alerts.sum()), float(chance[hit].sum()))
    of_frauds = np.where(hit, (1 - share) ** 2, share**2) * chance
    again = _spread(own, all_, share, float(of_frauds.sum()))
    precision = a / alerts.sum() - once, c / alerts.sum() + once
    return np.array([precision, (a / (a + d) - again, c / (c + b) + again)])


def _means(pack: Pack) -> tuple[Reals, Reals, Ints | None]:
    """Between what the mean score of each bin lies, and how many rows of the release lay in each;
    None where the lineage of the pack does not say."""
    assert pack.drift is not None
    edges = np.array([0, *pack.drift.score.edges, _ONE], np.float64) / _ONE
    low, high = edges[:-1], edges[1:]
    try:
        found = pack.lineage["score_bins"]
        rows = np.array(found["rows"], np.int64)
        means = np.clip(np.array(found["mean_q32"], np.float64) / _ONE, low, high)
        return np.where(rows > 0, means, low), np.where(rows > 0, means, high), rows
    except (KeyError, TypeError, ValueError):
        return low, high, None


def _spread(part: Reals, of: Reals, share: float, chance: float) -> float:
    """Half of the 95 % interval of sum(part) / sum(of) over terminals (linearised ratio: W.
    Cochran, Sampling Techniques, 1977, 6.3), with the variance ``chance`` of the sum besides."""
    n = len(of)
    between = float(np.sum((part - share * of) ** 2)) * n / max(n - 1, 1)
    return Z * float(np.sqrt(between + chance)) / max(float(of.sum()), 1e-12)


def estimated_on(pack: Pack, counts: FleetCounts, day: int, days: int) -> Estimate | None:
    """:func:`estimated` of the newest ``days`` up to a day, and what the release promised."""
    rows = counts.days(day - days + 1, day)
    window = counts.by_terminal(rows)[:, counts.spans[0]]
    found = estimated(pack, window[window.sum(1) > 0])
    assert pack.drift is not None
    released = _means(pack)[2]
    weights = np.array(pack.drift.score.weights) if released is None else released
    # so many events that chance plays no part
    promised = estimated(pack, weights[None, :] * (10**12 // max(int(weights.sum()), 1)))
    if found is None or promised is None:
        return None
    return Estimate(
        first_day=str(date_of(day - days + 1)),
        last_day=str(date_of(day)),
        events=int(window.sum()),
        exact_bins=released is not None,
        precision=found[0],
        recall=found[1],
        promised_precision=promised[0][0],
        promised_recall=promised[1][0],
    )


def precision(lake: Lake, pack: Pack, as_of: int) -> tuple[float, float, float] | None:
    """Between what the precision of a pack's alerts in the week up to a day lies, estimated without
    labels, and what its release promised; None where nothing can be said. ``as_of``: the day,
    counted from 2000-01-01. Raises InputError, ToolError."""
    if pack.drift is None:
        return None
    with connect(lake, as_of) as base:
        found = estimated_on(pack, read_counts(base, pack), as_of, 7)
    return None if found is None else (*found.precision, found.promised_precision)


def realised_on(base: duckdb.DuckDBPyConnection, pack: Pack) -> Realised | None:
    """Precision and recall of the newest :data:`MATURE_DAYS` of a lake whose labels are mature;
    None without labels that say whether there was an alert. Terminals are left out on days on which
    they ran two packs. Recall is that of the frauds in the lake."""
    rows = base.execute(_LABELLED, [pack.pack_id.hex()[:16]]).fetchnumpy()
    if not len(rows["hits"]):
        return None
    alerts, hits, frauds = (np.asarray(rows[name]) for name in ("alerts", "hits", "frauds"))
    return Realised(
        first_day=str(rows["first"].min())[:10],
        last_day=str(rows["last"].max())[:10],
        alerts=int(alerts.sum()),
        frauds=int(frauds.sum()),
        precision=_share(hits, alerts),
        recall=_share(hits, frauds),
    )


def _share(hits: Reals, of: Reals) -> Share | None:
    """With terminals as clusters; never narrower than Wilson's."""
    if not of.sum():
        return None
    share = float(hits.sum() / of.sum())
    spread = _spread(hits, of, share, 0.0)
    low, high = wilson(share, float(of.sum()))
    return share, max(0.0, min(low, share - spread)), min(1.0, max(high, share + spread))
