# SPDX-License-Identifier: Apache-2.0
"""How long labels take to become known, and which rows are too young for theirs.

A fraud is reported weeks after its transaction; until then its row looks genuine. Among rows
younger than that, the labels that are known are of the prompt kind alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions

__all__ = ["horizon_s", "reports_end_of", "reports_end_s", "slower_of", "slower_s"]

_MATURE = 0.9
_LEAST_AT_RISK = 10
_SAMPLED = 100_000
_CHANCE = 0.01


def slower_s(tx: Transactions, known: npt.NDArray[np.bool_], until_s: int) -> int:
    """Seconds until nine of ten labels of the slower kind are known, as the labels of the rows
    ``known`` show it; all of them were known by ``until_s``."""
    label, known_s, _ = tx.labels_at(until_s)
    return slower_of(tx.t_mono_s[known], known_s[known], label[known], until_s)


def slower_of(
    t_s: npt.NDArray[np.integer],
    known_s: npt.NDArray[np.integer],
    label: npt.NDArray[np.int8],
    until_s: int,
) -> int:
    """The same of rows by their time, the time at which their label became known, and the label."""
    t = t_s.astype(np.int64)
    delay = known_s.astype(np.int64) - t
    kinds = [np.flatnonzero(label == kind) for kind in (0, 1)]
    return max(horizon_s(delay[rows], until_s - t[rows]) for rows in kinds)


def horizon_s(delay_s: npt.NDArray[np.int64], age_s: npt.NDArray[np.int64]) -> int:
    """Seconds within which nine of ten labels of one kind become known; 0 without any.

    ``delay_s`` int64[n] are the delays of the labels known so far, ``age_s`` int64[n] the ages of
    their transactions, no delay above its age. A label that takes longer than its transaction is
    old is not among them, so their own quantile is too low. This is the quantile of the
    product-limit estimate for right-truncated data (D. Lynden-Bell, "A method of allowing for
    known observational selection in small samples", MNRAS 155, 1971): F(x) is the product of
    ``1 - n(d) / R(d)`` over the delays ``d`` above ``x``, where ``n(d)`` labels took ``d``, and
    ``R(d)`` took at most that long and are at least that old. It takes delays to be alike at all
    times, and leaves out a delay that fewer than ten transactions are old enough to show.
    """
    if not len(delay_s):
        return 0
    step = -(-len(delay_s) // _SAMPLED)
    delay, age = delay_s[::step], age_s[::step]
    few = min(_LEAST_AT_RISK, -(-len(age) // 2))
    shown = delay <= np.partition(age, len(age) - few)[len(age) - few]
    delay, age = np.sort(delay[shown]), np.sort(age[shown])
    value, count = np.unique(delay, return_counts=True)
    # no delay is above its age, so the rows younger than d all took less than d
    at_risk = np.searchsorted(delay, value, "right") - np.searchsorted(age, value)
    up_to = np.append(np.cumprod((1.0 - count / at_risk)[:0:-1])[::-1], 1.0)
    return int(value[np.searchsorted(up_to, _MATURE)])


def reports_end_s(tx: Transactions) -> int | None:
    """First second of the last rows, whose frauds were not yet reported when the data was written;
    None where nothing speaks for that.

    The last report in the data is taken as the time of writing. Rows that are younger then than
    reports take (:func:`horizon_s`) are named if they hold fewer frauds than chance gives (Poisson,
    one in a hundred) at the share of fraud among the rows before them.
    """
    return reports_end_of(tx.t_mono_s, tx.label_known_s, tx.label)


def reports_end_of(
    t_s: npt.NDArray[np.integer], known_s: npt.NDArray[np.integer], label: npt.NDArray[np.int8]
) -> int | None:
    """The same of rows by their time, the time at which their label became known, and the label."""
    from scipy.stats import poisson

    t = t_s.astype(np.int64)
    delay = known_s.astype(np.int64) - t
    fraud = np.flatnonzero(label == 1)
    labelled = label >= 0
    # labels that all take as long have no dates of their own, so nothing says when they ended
    if not len(fraud) or not np.ptp(delay[labelled]):
        return None
    written_s = int((t + delay)[fraud].max())
    young_s = written_s - horizon_s(delay[fraud], written_s - t[fraud]) + 1
    young = labelled & (t >= young_s)
    old = labelled & (t < young_s)
    if not np.any(young) or not np.any(old):
        return None
    expected = np.count_nonzero(young) * np.mean(label[old] == 1)
    if poisson.cdf(np.count_nonzero(label[young] == 1), expected) >= _CHANCE:
        return None
    return young_s
