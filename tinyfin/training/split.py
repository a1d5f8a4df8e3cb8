# SPDX-License-Identifier: Apache-2.0
"""Which rows train, which calibrate, which test: by time, never at random.

A model that goes live at ``until`` knows the labels that had arrived by then and no others. So the
rows to train on are those before ``until`` whose label was known at ``until``; younger ones are
immature and refused. So are rows too young for the slower kind of label: among them the prompt kind
would be alone. How long the slower kind takes is estimated from the labels known by ``until``
(:mod:`tinyfin.training.label_delays`). What comes after ``until`` is the test. What is trained on
is split again, in order of time: the fit, the validation that says when to stop, and the
calibration, on which the table of probabilities and the thresholds are set and nothing else.

Families that learn without labels use every row before ``until`` that was not known to be fraud by
then: a label that came later counts as no label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions, format_time
from tinyfin.errors import DataError
from tinyfin.results.run import SliceSize, SplitFacts
from tinyfin.training.label_delays import reports_end_s, slower_s

__all__ = [
    "MIN_FRAUDS",
    "SLICES",
    "Split",
    "known_and_clean",
    "known_labels",
    "split_by_time",
    "unreported",
    "untested",
]

MIN_FRAUDS = 5
"""Fewer in the fit or in the calibration are refused."""
SLICES = ("fit", "validation", "calibration", "test")


@dataclass(frozen=True)
class Split:
    """Row indices, ascending in time within each slice, and what was left out."""

    fit: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    """Says when to stop; may hold no fraud when frauds are few."""
    calibration: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    since_s: int
    validation_s: int
    """First second of the validation slice."""
    calibration_s: int
    """First second of the calibration slice."""
    until_s: int
    """When the model goes live: labels known later than this are not used."""
    test_until_s: int
    immature: int
    """Rows before ``until`` whose label was not known by then, or whose kind alone was: refused, or
    taken as unlabelled."""
    unlabelled: int
    """Rows without a label, in all slices: not used."""
    warmup: int
    """Rows before ``since``: they build state and are not trained on."""
    young_s: int
    """First second of the rows whose labels count as not known, even those that are: labels of the
    slower kind are still to come."""
    too_recent: int = 0
    """Of ``immature`` those with a known label; labels of their age are of one kind alone."""
    horizon_s: int = 0
    """Seconds until nine of ten labels of the slower kind are known."""
    reports_end_s: int | None = None
    """First second of the rows whose frauds were not yet reported when the data was written; None
    where nothing speaks for that."""
    test_too_recent: int = 0
    """Test rows from there on."""
    untested: int = 0
    """Labelled rows from there on that are not test rows for that reason."""

    def summary(self, label: npt.NDArray[np.int8]) -> SplitFacts:
        """Sizes, frauds and bounds, for reports."""

        def size(rows: npt.NDArray[np.int64]) -> SliceSize:
            return SliceSize(rows=len(rows), frauds=int(np.count_nonzero(label[rows] == 1)))

        return SplitFacts(
            since=format_time(self.since_s),
            validation_from=format_time(self.validation_s),
            calibration_from=format_time(self.calibration_s),
            labels_until=format_time(self.young_s),
            until=format_time(self.until_s),
            test_until=format_time(self.test_until_s),
            warmup_rows=self.warmup,
            immature_refused=self.immature,
            too_recent=self.too_recent,
            label_horizon_days=self.horizon_s / 86_400,
            reports_end=None if self.reports_end_s is None else format_time(self.reports_end_s),
            test_too_recent=self.test_too_recent,
            untested=self.untested,
            unlabelled=self.unlabelled,
            fit=size(self.fit),
            validation=size(self.validation),
            calibration=size(self.calibration),
            test=size(self.test),
        )


def unreported(split: SplitFacts) -> str | None:
    """What to say of a split whose last test rows lack fraud reports; None of others."""
    rows = split.test_too_recent
    if not rows:
        return None
    since = max(split.until, split.reports_end or "")
    end = "" if rows == split.test.rows else f', or set test_until = "{since}"'
    return (
        f"{rows} of {split.test.rows} test rows, those from {since} on, are too recent for "
        "fraud reports: when the data was written, most reports on them were still to come; frauds "
        "not yet reported count as genuine there, so the figures are wrong; give data written "
        f"later, or an earlier until{end}"
    )


def untested(split: SplitFacts) -> str | None:
    """What to say of a split whose test ends before fraud reports do; None of others."""
    since = split.reports_end
    if since is None or split.test_until > since:
        return None
    return (
        f"rows from {since} on are not tested: when the data was written, most fraud reports on "
        "them were still to come"
    )


def split_by_time(
    tx: Transactions,
    *,
    since_s: int | None = None,
    until_s: int | None = None,
    test_until_s: int | None = None,
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
    supervised: bool = True,
) -> Split:
    """Split the transactions at moments in time.

    ``shares`` are train, validation and test; the first half of the validation share says when to
    stop, the second calibrates. Without ``test_until_s`` the test ends with the data, or before the
    rows that are too recent for fraud reports. Without ``until_s`` the model goes live where the
    last share of the transactions begins. Where frauds are few the calibration reaches back as far
    as it needs to hold five. ``supervised=False``: fit and stop on all rows that are not known to
    be fraud; calibrate on labelled rows if they hold frauds enough, else on rows without known
    fraud.
    Raises DataError when the fit or the calibration would be empty or, supervised, hold fewer than
    five frauds.
    """
    t = tx.t_mono_s.astype(np.int64)
    if not len(t):
        raise DataError("there are no transactions; nothing can be trained on them")
    start = int(t.min()) if since_s is None else since_s
    end = int(t.max()) + 1 if test_until_s is None else test_until_s
    if until_s is None:
        inside = np.sort(t[(t >= start) & (t < end)])
        if not len(inside):
            raise DataError(f"no transaction since {format_time(start)}; set an earlier since")
        until_s = int(inside[min(len(inside) - 1, round(len(inside) * (1.0 - shares[2])))])
    reported_s = reports_end_s(tx)
    if test_until_s is None and reported_s is not None and reported_s > until_s:
        end = reported_s
    before = (t >= start) & (t < until_s)
    labelled = tx.label >= 0
    label = known_labels(tx, until_s)
    known, clean = before & (label >= 0), before & (label != 1)
    horizon_s = slower_s(tx, known, until_s)
    young_s = until_s - horizon_s + 1
    too_recent = int(np.count_nonzero(known & (t >= young_s)))
    known &= t < young_s
    immature = int(np.count_nonzero(before & labelled & ~known))
    usable = _by_time(np.flatnonzero(known), t)
    if supervised:
        _require(label, usable, "to train on", start, until_s, immature, horizon_s)
    stop, cut = _moments(t[usable], shares, label[usable] == 1)
    calibration = usable[t[usable] >= cut]
    if not supervised:
        usable = _by_time(np.flatnonzero(clean), t)
        if np.count_nonzero(label[calibration] == 1) < MIN_FRAUDS:
            stop, cut = _moments(t[usable], shares)
            calibration = usable[t[usable] >= cut]
    at = t[usable]
    fit = usable[at < stop]
    if supervised:
        _require(label, fit, "to fit on", start, stop, immature, horizon_s)
        _require(label, calibration, "to calibrate on", cut, until_s, immature, horizon_s)
    elif not len(fit) or not len(calibration):
        raise DataError(
            f"{len(usable)} clean transactions since {format_time(start)} cannot be split into "
            "rows to fit on and rows to calibrate on; give more data"
        )
    after = (t >= until_s) & (t < end)
    test = _by_time(np.flatnonzero(after & labelled), t)
    return Split(
        fit=fit,
        validation=usable[(at >= stop) & (at < cut)],
        calibration=calibration,
        test=test,
        since_s=start,
        validation_s=stop,
        calibration_s=cut,
        until_s=until_s,
        test_until_s=end,
        immature=immature,
        unlabelled=int(np.count_nonzero((before | after) & ~labelled)),
        warmup=int(np.count_nonzero(t < start)),
        young_s=young_s,
        too_recent=too_recent,
        horizon_s=horizon_s,
        reports_end_s=reported_s,
        test_too_recent=0 if reported_s is None else int(np.sum(t[test] >= reported_s)),
        untested=int(np.sum(labelled & (t >= end))) if end == reported_s else 0,
    )


def _moments(
    t: npt.NDArray[np.int64],
    shares: tuple[float, float, float],
    fraud: npt.NDArray[np.bool_] | None = None,
) -> tuple[int, int]:
    """Where the fit ends, and where the calibration begins, among ascending times.

    With ``fraud``, a calibration that would hold too few frauds begins earlier, and the fit ends
    there at the latest; but half of the frauds are always left to the fit.
    """
    if not len(t):
        return 0, 0
    share = shares[0] / max(shares[0] + shares[1], 1e-9)
    stop, cut = (int(t[min(len(t) - 1, round(len(t) * at))]) for at in (share, (1.0 + share) / 2))
    if fraud is not None and np.count_nonzero(fraud) >= 2 * MIN_FRAUDS:
        cut = min(cut, int(t[fraud][-MIN_FRAUDS]))
        stop = min(stop, cut)
    return stop, cut


def known_and_clean(
    tx: Transactions, since_s: int, until_s: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Masks bool[n] of the rows from ``since_s`` to ``until_s``: those whose label is known by
    then, and those not known to be fraud by then."""
    t = tx.t_mono_s.astype(np.int64)
    before = (t >= since_s) & (t < until_s)
    known = known_labels(tx, until_s)
    return before & (known >= 0), before & (known != 1)


def known_labels(tx: Transactions, until_s: int) -> npt.NDArray[np.int8]:
    """Labels int8[n] as they were known at ``until_s``: of rows before it, those that became known
    later are -1. Later rows keep theirs."""
    before = tx.t_mono_s.astype(np.int64) < until_s
    return np.where(before, tx.labels_at(until_s)[0], tx.label).astype(np.int8)


def _by_time(rows: npt.NDArray[np.int64], t: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return rows[np.argsort(t[rows], kind="stable")]


def _require(
    label: npt.NDArray[np.int8],
    rows: npt.NDArray[np.int64],
    what: str,
    start: int,
    end: int,
    immature: int,
    horizon_s: int,
) -> None:
    frauds = int(np.count_nonzero(label[rows] == 1))
    if frauds >= MIN_FRAUDS and frauds < len(rows):
        return
    raise DataError(
        f"from {format_time(start)} to {format_time(end)} there are {len(rows)} transactions "
        f"{what}, {frauds} of them fraud ({immature} left out: their label was not known yet, "
        "or they are too recent for fraud reports, of which 9 of 10 come within "
        f"{horizon_s / 86_400:.3g} days); at least {MIN_FRAUDS} frauds and one genuine "
        "are needed; give more data, an earlier since or a later until"
    )
