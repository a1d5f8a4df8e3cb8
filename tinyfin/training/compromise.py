# SPDX-License-Identifier: Apache-2.0
"""What the features of compromised terminals learn: the odds of an event, and how compromises go.

A terminal is compromised from some day on, for some days; meanwhile a share r of its transactions
is fraud of the compromise, and the others are what they always are: fraud with the probability q
that the event itself gives it. A known label then multiplies the odds of the compromise by

    (r + (1 - r) q) / q    for a fraud
    1 - r                  for a genuine transaction

q comes from the features that need no notices (:mod:`tinyfin.training.event_odds`), for each
terminal by tables that were fitted to others. Share, durations and the rate at which compromises
begin are those under which the labels are most likely (expectation maximisation, each share of a
grid; Dempster, Laird and Rubin 1977). Frauds that belong to a compromise with more than one half
are then set aside, and all is fitted again: they say nothing of the events of terminals that are
not compromised.

A card is followed in the same way, in the terminal's place (:mod:`tinyfin.training.card_odds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.config.sections import Compromise, Risk
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError
from tinyfin.features.compiler import compile_program
from tinyfin.features.compromise import COMPROMISE_FEATURES
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import DAY_S
from tinyfin.features.selection import select
from tinyfin.progress import stage
from tinyfin.training.chunks import computed_features
from tinyfin.training.event_odds import SCALE, EventOdds, Flags, Matrix, fit_event_odds
from tinyfin.training.notices import label_fed

__all__ = ["Durations", "fit_compromise", "fit_durations", "learn_compromise"]

_EVIDENCE = 16.0
_SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95, 0.99)
_DAYS = (1, 2, 3, 5, 7, 10, 14, 21, 28, 42, 56)
_MOST_DURATIONS, _LEAST_PART = 4, 0.02
_LEAST_RATE = 1e-7
_CUTS = 32
_REMEMBERED = 24
_MOST_DAYS = 128
_ROUNDS, _STEPS = 2, 60
_FOLDS = 3
_LEAST_GAIN = 5.0
"""Nats; with less the labels show no compromises."""
_USUAL_SHARE = 0.5
_BLOCK_CELLS = 400_000
"""Days of terminals that are looked at together: memory is some hundred bytes for each."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Durations:
    """How compromises go."""

    share: float
    """Of the transactions of a compromised terminal that are fraud of the compromise."""
    rates: Mapping[int, float]
    """By days that a compromise lasts, how many begin in a day of a terminal."""
    gain: float
    """Nats by which the labels are likelier than without compromises."""


def learn_compromise(
    config: Config,
    tx: Transactions,
    fit: npt.NDArray[np.int64],
    label: npt.NDArray[np.int8],
    *,
    note: Note = lambda _: None,
) -> tuple[Config, Compromise | None]:
    """The configuration with what its features learn from the labels of the rows ``fit``, and it.

    Nothing where no feature asks for it, where it is there already, or without labels of both
    kinds.
    """
    chosen = select(config.features)
    if config.features.compromise is not None or not any(
        feature.name in COMPROMISE_FEATURES for feature in chosen
    ):
        return config, None
    rows = fit[label[fit] >= 0]
    fraud = label[rows] == 1
    if fraud.all() or not fraud.any():
        note("compromised terminals: no labels of both kinds to learn from; the usual is taken")
        return config, None
    left_out = {*label_fed(config.features), *COMPROMISE_FEATURES}
    inputs = [feature for feature in chosen if feature.name not in left_out]
    if not inputs:
        raise ConfigError(
            "features.names: event_odds and its like need a feature that needs no notices, such as "
            "amt_log; name one more"
        )
    learned, words = fit_compromise(config, tx, inputs, fit, rows, fraud)
    note(f"compromised terminals: {words}")
    features_section = config.features.model_copy(update={"compromise": learned})
    return replace(config, features=features_section), learned


def fit_compromise(
    config: Config,
    tx: Transactions,
    inputs: Sequence[Feature],
    fit: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    fraud: Flags,
    *,
    whose: str = "terminal",
    days: int = _MOST_DAYS,
    remembered: int = _REMEMBERED,
) -> tuple[Compromise, str]:
    """What the labels ``fraud`` of ``rows``, some of the rows ``fit``, say of each terminal, and
    that in words; odds of an event by ``inputs``. At most so many ``days`` of labels are read, and
    so many events ``remembered``."""
    until_s = int(tx.t_mono_s[fit].max()) + 1
    program = compile_program(inputs, config.schema, **config.features.capacities)
    name = "features that need no notices"
    features = computed_features(tx, config, program, name, until_s=until_s)[0][rows]
    terminal = np.unique(tx.terminal[rows], return_inverse=True)[1]
    day = (tx.t_mono_s[rows] // DAY_S).astype(np.int64)
    names = [feature.name for feature in inputs]
    own = np.ones(len(rows), np.bool_)
    with stage(f"compromised {whose}s"):
        for _ in range(_ROUNDS):
            odds = _of_others(features, fraud, own, names, terminal)
            q = 1.0 / (1.0 + np.exp2(-odds / SCALE))
            durations, belongs = fit_durations(terminal, day, fraud, q)
            own = ~(fraud & (belongs > 0.5))
        events = fit_event_odds(features, fraud, own, names)
    odds = events.of(features, names)
    learned = _integers(
        events, odds, fraud & own, durations, _waiting(tx, fit, rows), days, remembered
    )
    if config.data.notices != "both":  # genuine transactions are never reported
        learned = learned.model_copy(update={"genuine": 0})
    return learned, _words(durations, int((~own).sum()), int(fraud.sum()), whose)


def _of_others(
    features: npt.NDArray[np.int16],
    fraud: Flags,
    own: Flags,
    names: Sequence[str],
    terminal: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Odds of fraud of each row by tables that were fitted to rows of other terminals; where there
    are too few of them, to all rows."""
    terminals = int(terminal.max()) + 1
    if terminals < _FOLDS:
        return fit_event_odds(features, fraud, own, names).of(features, names)
    fold = np.random.default_rng(1).permutation(terminals)[terminal] % _FOLDS
    odds = np.zeros(len(fraud), np.int64)
    for k in range(_FOLDS):
        held = fold == k
        events = fit_event_odds(features[~held], fraud[~held], own[~held], names)
        odds[held] = events.of(features[held], names)
    return odds


def fit_durations(
    terminal: npt.NDArray[np.int64], day: npt.NDArray[np.int64], fraud: Flags, q: Matrix
) -> tuple[Durations, Matrix]:
    """How compromises go, and for each row the probability that one lasted then (0 for terminals
    without fraud).

    ``terminal`` (0, 1, ...), ``day``, ``fraud`` and ``q`` (probability of fraud without a
    compromise) have one entry per labelled transaction.
    """
    labels = _Labels.of(terminal, day, fraud)
    # those that began up to their length before the first day too
    exposure = (int(terminal.max()) + 1) * (labels.days - 1.0 + np.array(_DAYS))
    every = np.ones(len(_DAYS), np.bool_)
    best: tuple[float, float, Matrix] | None = None
    for share in _SHARES:
        expected, gain = _expected(labels.likelihood(_says(share, fraud, q)), exposure, every)
        if best is None or gain > best[0]:
            best = gain, share, expected
    assert best is not None
    gain, share, expected = best
    if gain < _LEAST_GAIN:
        return Durations(_USUAL_SHARE, {}, gain), np.zeros(len(terminal))
    kept = expected > max(0.5, _LEAST_PART * float(expected.sum()))
    kept[np.argsort(-expected, kind="stable")[_MOST_DURATIONS:]] = False
    kept[np.argmax(expected)] = True
    says = _says(share, fraud, q)
    expected, gain = _expected(labels.likelihood(says), exposure, kept)
    rates = expected / exposure
    belongs = np.zeros(len(terminal))
    for rows, cell, windows in labels.windows(says):
        belongs[rows] = _lasting(windows, rates).reshape(-1)[cell]
    found = {n: float(rate) for n, rate in zip(_DAYS, rates, strict=True) if rate > 0}
    return Durations(share, found, gain), belongs


def _says(share: float, fraud: Flags, q: Matrix) -> Matrix:
    """Nats that each label says for a compromise."""
    return np.where(fraud, np.log((share + (1 - share) * q) / q), np.log1p(-share))


@dataclass(frozen=True)
class _Labels:
    """Labels of the terminals with fraud, terminal by terminal."""

    rows: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    """Of each row the terminal, ascending: 0, 1, ..."""
    day: npt.NDArray[np.int64]
    """Of each row, from 0 on."""
    days: int

    @classmethod
    def of(
        cls, terminal: npt.NDArray[np.int64], day: npt.NDArray[np.int64], fraud: Flags
    ) -> _Labels:
        marked = np.unique(terminal[fraud])
        rows = np.flatnonzero(np.isin(terminal, marked))
        rows = rows[np.argsort(terminal[rows], kind="stable")]
        place = np.searchsorted(marked, terminal[rows])
        first = int(day.min())
        return cls(rows, place, day[rows] - first, int(day.max()) - first + 1)

    def windows(
        self, says: Matrix
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Matrix]]:
        """Block by block: rows, their cell [terminal of the block, day], and the log-likelihood
        ratio [durations, terminals of the block, first days] of a compromise. The first days begin
        where the longest duration has its last day on day 0; minus infinity: over before that."""
        step = max(1, _BLOCK_CELLS // self.days)
        start = np.arange(1 - _DAYS[-1], self.days)
        ends = [np.clip(start + n, 0, self.days) for n in _DAYS]
        begin = np.maximum(start, 0)
        before = [np.where(start + n > 0, 0.0, -np.inf) for n in _DAYS]
        for low in range(0, int(self.place[-1]) + 1, step):
            part = slice(*np.searchsorted(self.place, (low, low + step)).tolist())
            rows = self.rows[part]
            cell = (self.place[part] - low) * self.days + self.day[part]
            terminals = int(self.place[part][-1]) - low + 1
            known = np.bincount(cell, weights=says[rows], minlength=terminals * self.days)
            total = np.zeros((terminals, self.days + 1))
            np.cumsum(known.reshape(terminals, self.days), axis=1, out=total[:, 1:])
            yield (
                rows,
                cell,
                np.stack(
                    [
                        total[:, end] - total[:, begin] + out
                        for end, out in zip(ends, before, strict=True)
                    ]
                ),
            )

    def likelihood(self, says: Matrix) -> tuple[Matrix, Matrix]:
        """Per terminal the largest log-likelihood ratio, 0 among them, and the sums over first days
        [durations, terminals] of the ratios divided by it."""
        largest, sums = [], []
        for _, _, windows in self.windows(says):
            most = np.maximum(windows.max(axis=(0, 2)), 0.0)
            largest.append(most)
            sums.append(np.exp(windows - most[:, None]).sum(axis=2))
        return np.concatenate(largest), np.concatenate(sums, axis=1)


def _expected(
    likelihood: tuple[Matrix, Matrix], exposure: Matrix, kept: Flags
) -> tuple[Matrix, float]:
    """How many compromises of each duration began, under the Poisson process that makes the labels
    most likely, and the nats gained. ``exposure`` is in days of terminals [durations], of those
    without fraud too."""
    most, sums = likelihood
    never = np.exp(-most)
    expected = np.where(kept, 1.0, 0.0)
    for _ in range(_STEPS):
        terms = (expected / exposure)[:, None] * sums
        expected = (terms / (never + terms.sum(axis=0))).sum(axis=1)
    terms = (expected / exposure)[:, None] * sums
    gain = (most + np.log(never + terms.sum(axis=0))).sum() - expected.sum()
    return expected, float(gain)


def _lasting(windows: Matrix, rates: Matrix) -> Matrix:
    """Probability [terminals, days] that a compromise lasted on a day, with all labels known."""
    most = np.maximum(windows.max(axis=(0, 2)), 0.0)
    weights = rates[:, None, None] * np.exp(windows - most[:, None])
    zero = _DAYS[-1] - 1  # where first days are day 0
    days = windows.shape[2] - zero
    out = np.zeros((windows.shape[1], days))
    for n, part in zip(_DAYS, weights, strict=True):
        for back in range(n if part.any() else 0):
            out += part[:, zero - back : zero - back + days]
    return np.asarray(out / (np.exp(-most) + weights.sum(axis=(0, 2)))[:, None])


def _waiting(
    tx: Transactions, fit: npt.NDArray[np.int64], labelled: npt.NDArray[np.int64]
) -> float:
    """How many transactions of a terminal come before the label of one is known. Nine of ten of the
    rows ``fit`` have no more."""
    t = tx.t_mono_s.astype(np.int64)
    delay = np.quantile(tx.first_known_s()[labelled].astype(np.int64) - t[labelled], 0.9) + DAY_S
    _, place, number = np.unique(tx.terminal[fit], return_inverse=True, return_counts=True)
    span = max(float(np.ptp(t[fit])), float(delay))
    return float(np.quantile(number[place] * delay / span, 0.9))


def _integers(
    events: EventOdds,
    odds: npt.NDArray[np.int64],
    own_fraud: Flags,
    durations: Durations,
    waiting: float,
    days: int,
    remembered: int,
) -> Compromise:
    share = durations.share
    low, high = int(odds.min()), int(odds.max())
    cuts = np.unique(np.linspace(low, high, _CUTS + 2).astype(np.int64)[1:-1])
    middle = (np.r_[low, cuts] + np.r_[cuts, high]) / 2.0
    q = 1.0 / (1.0 + np.exp2(-middle / SCALE))
    evidence = _EVIDENCE * np.log2((share + (1 - share) * q) / q)
    values = np.clip(np.round(evidence), 0, 255).astype(np.int64)
    says = values[np.searchsorted(cuts, odds, side="right")]
    limit = 256
    if waiting > remembered:
        limit = int(np.quantile(says, remembered / waiting, method="lower"))
    rest = says[own_fraud & (says >= limit)]
    usual = int(np.median(rest if len(rest) else says))
    rates = durations.rates or {_DAYS[-1]: _LEAST_RATE}
    return Compromise(
        base=events.base,
        odds=dict(events.tables),
        pairs=list(events.pairs),
        evidence=Risk(cuts=cuts.tolist(), values=values.tolist()),
        probability=Risk(cuts=cuts.tolist(), values=np.round(4096 * q).astype(np.int64).tolist()),
        share=min(-1, round(SCALE * float(np.log2(share)))),
        usual=usual,
        genuine=round(_EVIDENCE * float(np.log2(1.0 - share))),
        limit=limit,
        durations=[
            (n, round(_EVIDENCE * float(np.log2(max(rate, _LEAST_RATE)))))
            for n, rate in sorted(rates.items())
        ],
        days=min(days, max(rates) + 14),
        remembered=min(remembered, max(1, round(waiting))),
    )


def _words(durations: Durations, explained: int, frauds: int, whose: str) -> str:
    if not durations.rates:
        return "the labels show none"
    spans = ", ".join(f"{n} d" for n in sorted(durations.rates))
    rate = sum(durations.rates.values())
    return (
        f"one begins in {1 / rate:,.0f} days of a {whose} and lasts {spans}; "
        f"{durations.share:.0%} of its transactions are fraud; {explained} of {frauds} "
        "known frauds belong to one"
    )
