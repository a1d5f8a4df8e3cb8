# SPDX-License-Identifier: Apache-2.0
"""The bounds of a probation from both packs' scores of healthy terminals, and what they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tinyfin.pack.probation import Look, Probation
from tinyfin.release.bounds import Region, region
from tinyfin.release.paired import Ints, Windows, failed_at, measures, tables_of
from tinyfin.release.scored import Rows
from tinyfin.results.release import LookBounds, ProbationFacts, Seen, TrialBounds

__all__ = ["LEAST_SEEN", "LOOKS", "Asked", "default_looks", "measured", "probation_of", "scaled"]

LOOKS: tuple[tuple[int, ...], ...] = ((200, 500, 1000), (200, 500), (200,), (50, 100))
"""Looks: the first that half of the terminals have enough events for; else the last."""
LEAST_SEEN = 0.95
"""Share of terminals on which bounds have to refuse constant scores, and those of other events."""
_ALERTS_FACTOR = 2.0
_MOST = 65_535
_DAY_S = 86_400


def default_looks(rows: Rows) -> tuple[int, ...]:
    """Of :data:`LOOKS` those that fit the terminals."""
    terminals = np.unique(rows.terminal)
    counts = np.bincount(rows.terminal[~rows.cold], minlength=terminals[-1] + 1)[terminals]
    fitting = (looks for looks in LOOKS if np.mean(counts >= looks[-1]) >= 0.5)
    return next(fitting, LOOKS[-1])


@dataclass(frozen=True)
class Asked:
    """What a release asks of the probation."""

    parent: bytes
    """Model id."""
    shadow: bool
    looks: Sequence[int] = ()
    """Those of :func:`default_looks` if empty."""
    trial_events: int | None = None
    """Half of the last look if None."""
    auto_trial: bool = False
    auto_confirm: bool = False
    own_state: bool = False
    """The shadow has another feature program, and terminals have memory for its state."""


def probation_of(rows: Rows, asked: Asked) -> tuple[Probation, ProbationFacts]:
    """Bounds that refuse at most one in 1,000 healthy terminals in shadow, all looks together, and
    as few on trial. Raises DataError for too few terminals with enough events, PackError for looks
    that the format does not hold."""
    looks = tuple(asked.looks) or default_looks(rows)
    windows = rows.windows(looks[-1])
    parent_cuts, own_cuts = rows.cuts
    factor_q8 = _factor_q8(windows)
    values, more = measured(windows, looks, factor_q8)
    found = region(scaled(values, more), windows.terminal)
    *by_look, last = np.split(found.bounds, range(3, 3 * len(looks) + 1, 3))
    limits = [_counts(part, events) for part, events in zip(by_look, looks, strict=True)]
    made = Probation(
        asked.parent,
        parent_cuts,
        own_cuts,
        tuple(Look(events, *limit) for events, limit in zip(looks, limits, strict=True)),
        asked.auto_trial,
        asked.auto_confirm,
        factor_q8,
        _whole(last[0]),
    )
    trial = looks[-1] // 2 if asked.trial_events is None else asked.trial_events
    facts = ProbationFacts(
        shadow=asked.shadow,
        own_state=asked.own_state,
        looks=[
            LookBounds(
                events=look.events,
                far=look.far,
                differ=look.differ,
                psi_q10=look.psi_q10,
                median=tuple(np.median(part, axis=0).tolist()),
                largest=tuple(part.max(axis=0).tolist()),
            )
            for look, part in zip(made.looks, values, strict=True)
        ],
        alerts_ratio=_alerts_ratio(windows),
        alerts_factor=factor_q8 / 256,
        alerts_more=made.alerts_more,
        terminals=found.terminals,
        windows=len(windows.terminal),
        refused_at_most=found.refused_at_most,
        extrapolated=found.extrapolated,
        table=tables_of(windows.parent_bin, windows.own_bin).sum(axis=0).tolist(),
        sees=_sees(made, rows),
        trial=None,
        days=_days(rows, (looks[-1] if asked.shadow else 0) + trial),
        auto_trial=asked.auto_trial,
        auto_confirm=asked.auto_confirm,
    )
    if trial:
        # of terminals without memory for its state, the trial begins cold
        begins = (False, True) if asked.own_state else (not asked.shadow,)
        made, facts.trial = _with_trial(made, rows, trial, begins)
    return made, facts


def _with_trial(
    made: Probation, rows: Rows, events: int, cold: Sequence[bool]
) -> tuple[Probation, TrialBounds]:
    begun = [rows.trials(events, cold=how) for how in cold]
    terminal, alerts, saturated = map(np.concatenate, zip(*begun, strict=True))
    counts = np.column_stack([alerts, saturated])
    # counts come in bursts: their roots have a tail that ends sooner
    found: Region = region(np.sqrt(counts), terminal)
    limit = [min(_whole(bound), events) for bound in found.bounds**2]
    made = replace(made, trial_events=events, trial_alerts=limit[0], trial_saturated=limit[1])
    return made, TrialBounds(
        events=events,
        alerts=limit[0],
        saturated=limit[1],
        largest=tuple(counts.max(axis=0).tolist()),
        terminals=found.terminals,
        refused_at_most=found.refused_at_most,
        extrapolated=found.extrapolated,
    )


def measured(windows: Windows, looks: Sequence[int], factor_q8: int) -> tuple[list[Ints], Ints]:
    """Of each look far, differ and psi_q10, int64[windows, 3]; and the most alerts of any look
    above ``factor_q8`` times the parent's."""
    values = []
    more = np.full(len(windows.terminal), -_MOST, np.int64)
    for events in looks:
        tables, parent, own = windows.until(events)
        values.append(np.stack(measures(tables), axis=1))
        more = np.maximum(more, own - (factor_q8 * parent >> 8))
    return values, more


def scaled(values: Sequence[Ints], more: Ints) -> npt.NDArray[np.float64]:
    """What bounds are made for, float64[windows, 3 looks + 1]: far, differ and the root of psi_q10
    of each look, and the alerts. The index is a squared distance; its root has a tail like a
    count's."""
    parts = [np.column_stack([part[:, :2], np.sqrt(part[:, 2])]) for part in values]
    return np.column_stack([*parts, more]).astype(np.float64)


def _counts(part: npt.NDArray[np.float64], events: int) -> tuple[int, int, int]:
    far, differ = (min(_whole(bound), events) for bound in part[:2])
    return far, differ, _whole(max(part[2], 0.0) ** 2)


def _whole(bound: float) -> int:
    return int(min(max(np.floor(bound + 1e-9), 0), _MOST))


def _factor_q8(windows: Windows) -> int:
    """Twice the alerts that the candidate gives for one of the parent, but not below twice."""
    ratio = _alerts_ratio(windows)
    ratio = float(windows.own_alert.sum()) if ratio is None else ratio
    return round(256 * _ALERTS_FACTOR * min(max(1.0, ratio), 64.0))


def _alerts_ratio(windows: Windows) -> float | None:
    parent, own = int(windows.parent_alert.sum()), int(windows.own_alert.sum())
    return own / parent if parent else None


def _sees(made: Probation, rows: Rows) -> list[Seen]:
    """On what share of the windows the bounds refuse what is no model any more, by each look."""
    odds = _log_odds(rows.own)
    spread = float(odds.std())
    bad = {
        "the lowest score, always": np.zeros_like(rows.own),
        "the highest score, always": np.full_like(rows.own, 2**32 - 1),
        "scores of other events": np.random.default_rng(1).permutation(rows.own),
        "scores one standard deviation higher": _scores(odds + spread),
        "scores one standard deviation lower": _scores(odds - spread),
    }
    out = []
    for name, own in bad.items():
        failed = failed_at(made, rows.windows(made.looks[-1].events, own)) >= 0
        shares = [float(failed[: i + 1].any(axis=0).mean()) for i in range(len(failed))]
        out.append(Seen(what=name, share=shares))
    return out


def _log_odds(score_q32: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    p = (score_q32.astype(np.float64) + 0.5) / 2.0**32
    return np.asarray(np.log(p / (1 - p)))


def _scores(log_odds: npt.NDArray[np.float64]) -> npt.NDArray[np.uint32]:
    return np.asarray(np.minimum(2.0**32 / (1 + np.exp(-log_odds)), 2**32 - 1).astype(np.uint32))


def _days(rows: Rows, events: int) -> float:
    """So many events on the median terminal."""
    span = max((int(rows.t_s.max()) - int(rows.t_s.min())) / _DAY_S, 1.0)
    counts = np.unique(rows.terminal, return_counts=True)[1]
    return events * span / float(np.median(counts))
