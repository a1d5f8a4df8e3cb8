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
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None


def estimated(pack: Pack, counts: Ints) -> tuple[Interval, Interval] | None:
    """Precision and recall that a pack's scores let expect of counts int64[T, bins] of its score's
    histogram; None without an event that may be an alert, and of scores that are no
    probabilities."""
    if pack.drift is None or pack.decision is None or pack.meta.get("score") != "probability":
        return None
    at = pack.decision.alert_q32
    if at is None or not counts.sum():
        return None
    edges = np.array([0, *pack.drift.score.edges, _ONE], np.float64) / _ONE
    low, high = _means(pack, edges)
    threshold = at / _ONE
    above, below = edges[:-1] >= threshold, edges[1:] <= threshold
    divided = ~(above | below)  # at most one bin: none of its events are alerts, or all are
    n = counts.sum(0).astype(np.float64)
    alerts, more = float(n[above].sum()), float(n[divided].sum())
    if not alerts + more:
        return None
    least, most = float((n * low)[above].sum()), float((n * high)[above].sum())
    top = float((n * edges[1:])[divided].sum())
    lows, highs = [(least + more * threshold) / (alerts + more)], [(most + top) / (alerts + more)]
    if alerts:
        lows.append(least / alerts)
        highs.append(most / alerts)
    missed = float((n * high)[below].sum()) + top, float((n * low)[below].sum())
    recall = (
        least / max(least + missed[0], 1e-12),
        (most + top) / max(most + top + missed[1], 1e-12),
    )
    middle = (low + high) / 2
    hit, lost = above | divided, below
    own, other = ((counts[:, part] * middle[part]).sum(1) for part in (hit, lost))
    chance = n * middle * (1 - middle)
    shares = own.sum() / (alerts + more), own.sum() / max(own.sum() + other.sum(), 1e-12)
    spread = (
        _spread(own, counts[:, hit].sum(1), shares[0], float(chance[hit].sum())),
        _spread(
            own,
            own + other,
            shares[1],
            float(chance[hit].sum() * (1 - shares[1]) ** 2 + chance[lost].sum() * shares[1] ** 2),
        ),
    )
    return (
        (max(0.0, min(lows) - spread[0]), min(1.0, max(highs) + spread[0])),
        (max(0.0, recall[0] - spread[1]), min(1.0, recall[1] + spread[1])),
    )


def _means(pack: Pack, edges: Reals) -> tuple[Reals, Reals]:
    """Between what the mean score of each bin lies."""
    low, high = edges[:-1].copy(), edges[1:].copy()
    rows, means = _released(pack)
    if rows is not None and means is not None:
        low = np.where(rows > 0, np.clip(means, low, high), low)
        high = np.where(rows > 0, low, high)
    return low, high


def _released(pack: Pack) -> tuple[Ints | None, Reals | None]:
    """Rows of the release by bin, and their mean scores, as the lineage of the pack has them."""
    found = pack.lineage.get("score_bins")
    bins = 0 if pack.drift is None else pack.drift.score.bins
    if not isinstance(found, dict) or any(
        not isinstance(found.get(key), list) or len(found[key]) != bins
        for key in ("rows", "mean_q32")
    ):
        return None, None
    return np.array(found["rows"], np.int64), np.array(found["mean_q32"], np.float64) / _ONE


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
    released, _ = _released(pack)
    weights = np.array(pack.drift.score.weights) if released is None else released
    promised = estimated(pack, _without_spread(weights))
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


def _without_spread(weights: Ints) -> Ints:
    """The same shares of so many events that chance plays no part."""
    return weights[None, :] * (10**12 // max(int(weights.sum()), 1))


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
    precision, recall = _share(hits, alerts), _share(hits, frauds)
    return Realised(
        first_day=str(rows["first"].min())[:10],
        last_day=str(rows["last"].max())[:10],
        alerts=int(alerts.sum()),
        frauds=int(frauds.sum()),
        precision=None if precision is None else precision[0],
        precision_interval=None if precision is None else precision[1],
        recall=None if recall is None else recall[0],
        recall_interval=None if recall is None else recall[1],
    )


def _share(hits: Reals, of: Reals) -> tuple[float, Interval] | None:
    """A share with its 95 % interval: terminals are clusters; never narrower than Wilson's."""
    if not of.sum():
        return None
    share = float(hits.sum() / of.sum())
    spread = _spread(hits, of, share, 0.0)
    low, high = wilson(share, float(of.sum()))
    return share, (max(0.0, min(low, share - spread)), min(1.0, max(high, share + spread)))
