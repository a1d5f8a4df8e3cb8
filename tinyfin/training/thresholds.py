# SPDX-License-Identifier: Apache-2.0
"""Thresholds: from budgets of false alerts, from what errors cost, from both, or as probabilities.

All are set on the calibration rows, before the test begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinyfin.config import DecisionSection
from tinyfin.errors import ConfigError
from tinyfin.features.definition import Feature
from tinyfin.pack.calibration import Calibration, to_q32
from tinyfin.pack.decision import MAX_BELOW, NEVER_Q32, Decision
from tinyfin.results.metrics import (
    Action,
    AlertFigures,
    Bound,
    Budget,
    BudgetPromise,
    DecisionFacts,
)
from tinyfin.training.alert_guarantee import budget_promise, cautious_alerts
from tinyfin.training.alert_metrics import alert_figures
from tinyfin.training.confusion import ACTION_LEVELS, at_thresholds
from tinyfin.training.populations import populations_of
from tinyfin.training.run_folder import Slices

__all__ = [
    "Held",
    "Levels",
    "decide",
    "false_alerts_allowed",
    "levels",
    "promises",
    "realised",
    "threshold_cost",
    "threshold_raw",
]

WEEK_S = 7 * 86_400
_Q32 = float(1 << 32)
_UNITS = ("1000", "terminal_week")


@dataclass(frozen=True)
class Held:
    """The rows that thresholds are set on, n of them."""

    raw: npt.NDArray[np.int32]
    label: npt.NDArray[np.int8]
    terminal: npt.NDArray[np.int32]
    t_s: npt.NDArray[np.uint32]
    amount: npt.NDArray[np.int64]
    """Minor units; zeros for events that are no payments."""

    @classmethod
    def of(cls, raw: npt.NDArray[np.int32], slices: Slices) -> Held:
        """The calibration rows of a run, with their raw scores."""
        names = ("label", "terminal", "t_s", "amount")
        return cls(raw, *(slices[f"calibration_{name}"] for name in names))

    @property
    def genuine(self) -> int:
        """How many of the rows are not known to be fraud."""
        return int(np.count_nonzero(self.label != 1))

    @property
    def terminal_weeks(self) -> float:
        """How many weeks of how many terminals the rows cover, a day at least."""
        if not len(self.t_s):
            return 0.0
        span = int(self.t_s.max()) - int(self.t_s.min())
        return len(np.unique(self.terminal)) * max(span, 86_400) / WEEK_S


def false_alerts_allowed(
    held: Held,
    per_1000: float | None,
    per_terminal_week: float | None,
    confidence: float | None = None,
) -> int | None:
    """False alerts on these rows with which both budgets are kept: on the rows themselves, or with
    ``confidence`` on those to come. None when there is no budget, or none of them keeps it."""
    share = _share_allowed(held, per_1000, per_terminal_week)
    if share is None:
        return None
    if confidence is not None:
        return cautious_alerts(held.genuine, share, confidence)
    return int(np.floor(share * held.genuine + 1e-9))


def _share_allowed(
    held: Held, per_1000: float | None, per_terminal_week: float | None
) -> float | None:
    """The share of genuine transactions that both budgets let alert."""
    allowed = [] if per_1000 is None else [per_1000 / 1000.0]
    if per_terminal_week is not None:
        allowed.append(per_terminal_week * held.terminal_weeks / max(held.genuine, 1))
    return min(allowed, default=None)


@dataclass(frozen=True)
class _Asked:
    """What sets the threshold of an action."""

    probability: float | None
    budgets: tuple[float | None, float | None]
    """Per 1,000, and per terminal and week; 0 in one of them: the action is never taken."""
    cost: float | None
    """Minor units of an alert where a missed fraud costs its amount."""

    @classmethod
    def of(cls, section: DecisionSection, action: Action) -> _Asked:
        """By [decision]; where a probability is given, it alone counts."""
        probability = getattr(section, action)
        if probability is not None:
            return cls(probability, (None, None), None)
        budgets = tuple(getattr(section, f"{action}_per_{unit}") for unit in _UNITS)
        cost = getattr(section.costs, f"{action}_minor")
        return cls(None, budgets, None if cost is None else cost / section.costs.missed)


def promises(
    section: DecisionSection,
    held: Held,
    alert: Mapping[Action, npt.NDArray[np.bool_]] | None = None,
) -> dict[Action, BudgetPromise]:
    """What the calibration rows promise of each budget (:mod:`tinyfin.training.alert_guarantee`).

    ``alert``: by action the rows that alert; as many as the budget allows if not given.
    """
    out: dict[Action, BudgetPromise] = {}
    for action in ACTION_LEVELS:
        asked = _Asked.of(section, action)
        share = _share_allowed(held, *asked.budgets)
        if not share or not held.genuine:
            continue
        allowed = false_alerts_allowed(held, *asked.budgets, section.confidence)
        count = allowed or 0
        bound: Bound | None = None
        if alert is not None:
            count = int(np.count_nonzero(alert[action] & (held.label != 1)))
            bound = None if asked.cost is None else _bound(held, asked.cost, allowed)
        out[action] = budget_promise(
            held.genuine,
            count,
            share,
            section.confidence,
            allowed=None if asked.cost is None else allowed or 0,
            bound_by=bound,
        )
    return out


def _bound(held: Held, cost: float, allowed: int | None) -> Bound:
    """``budget`` where a threshold that exceeds the budget would save more on these rows."""
    within = 0.0 if allowed is None else _best(held, cost, allowed)[0]
    return "budget" if _best(held, cost, held.genuine)[0] > within else "costs"


def threshold_raw(raw: npt.NDArray[np.int32], label: npt.NDArray[np.int8], allowed: int) -> int:
    """The lowest raw score at which at most ``allowed`` genuine rows alert."""
    genuine = np.sort(raw[label != 1].astype(np.int64))[::-1]
    if not len(genuine):
        return int(raw.min())
    return int(genuine[-1]) if allowed >= len(genuine) else int(genuine[allowed]) + 1


def threshold_cost(held: Held, alert_minor: float, allowed: int | None = None) -> int | None:
    """The raw score from which alerting saves most on these rows, among those at which at most
    ``allowed`` genuine rows alert (any number if None); None when it never pays.

    A missed fraud costs its amount, an alert ``alert_minor`` minor units: the savings of
    :func:`tinyfin.training.alert_metrics.savings`. Thresholds with no row between them are equal
    here; the lowest of them is returned, as :func:`threshold_raw` does.
    """
    return _best(held, alert_minor, held.genuine if allowed is None else allowed)[1]


def _best(held: Held, alert_minor: float, allowed: int) -> tuple[float, int | None]:
    """Minor units that :func:`threshold_cost` saves, and that threshold."""
    if not len(held.raw):
        return 0.0, None
    order = np.argsort(-held.raw.astype(np.int64), kind="stable")
    raw, fraud = held.raw[order], held.label[order] == 1
    last = np.r_[np.flatnonzero(np.diff(raw)), len(raw) - 1]
    saved = np.cumsum(np.where(fraud, held.amount[order], 0) - alert_minor)[last]
    # going down, false alerts only become more: what keeps the budget is a beginning of ``saved``
    inside = saved[np.cumsum(~fraud)[last] <= allowed]
    if not len(inside) or inside.max() <= 0:
        return 0.0, None
    best = int(np.argmax(inside))
    at = int(last[best])
    lowest = int(raw[at + 1]) + 1 if at + 1 < len(raw) else int(raw[at])
    return float(inside[best]), lowest


def decide(
    section: DecisionSection,
    table: Calibration,
    held: Held,
    *,
    features: Sequence[Feature],
    references: Sequence[int],
) -> Decision:
    """The decision of a pack, thresholds set on the calibration rows (:func:`levels`).

    ``references`` are int8 codes of the features' usual values. Raises ConfigError.
    """
    online, verify, decline = levels(section, table, held)
    low = NEVER_Q32 if online is None else online
    high = NEVER_Q32 if decline is None else decline
    reasons = _reasons(section.reasons, features)
    return Decision(
        reasons=tuple(above for above, _ in reasons),
        below=tuple(below for _, below in reasons),
        references=tuple(references),
        go_online_q32=min(low, high),
        decline_q32=high,
        verify_q32=verify,
        never_online=online is None,
        never_decline=decline is None,
        control_share_q16=min(round(section.control_share * 65536), 65535),
        cold_events=section.cold_events,
        cold_s=section.cold,
    )


class Levels(NamedTuple):
    """Thresholds of the actions, probabilities times 2^32; None: never."""

    go_online: int | None
    verify: int | None
    decline: int | None


def levels(section: DecisionSection, table: Calibration, held: Held) -> Levels:
    """Thresholds, none below that of a weaker action.

    For each action a probability that is given goes before all else; costs choose within the
    budgets that are given beside them. To verify is to go online, so where a threshold of VERIFY
    alone is given, it is that of going online too. No declining is put off for it.
    """

    def q32(raw: int | None) -> int | None:
        if raw is None or raw > table.raw[-1]:
            return None
        return int(table.evaluate(np.asarray([raw], np.int64))[0])

    def find(action: Action) -> int | None:
        asked = _Asked.of(section, action)
        if asked.probability is not None:
            return to_q32(asked.probability)
        allowed = false_alerts_allowed(held, *asked.budgets, section.confidence)
        if asked.budgets != (None, None) and (allowed is None or 0 in asked.budgets):
            return None
        if asked.cost is not None:
            return q32(threshold_cost(held, asked.cost, allowed))
        return None if allowed is None else q32(threshold_raw(held.raw, held.label, allowed))

    online, verify, decline = find("go_online"), find("verify"), find("decline")
    if online is not None and decline is not None:
        decline = max(online, decline)
    if verify is not None:
        verify = min(max(online or 0, verify), NEVER_Q32 if decline is None else decline)
        online = verify if online is None else online
    return Levels(online, verify, decline)


def realised(
    section: DecisionSection,
    decision: Decision,
    table: Calibration,
    slices: Slices,
    raws: Mapping[str, npt.NDArray[np.int32]],
    drawn: str,
    alert_minor: float,
) -> DecisionFacts:
    """Thresholds as probabilities, what they were set by, and the alerts they give on the rows
    they were set on (``calibration``) and on those of the test, as ``raws`` names them; what the
    first promise of the budgets, and the confusion counts of the second. ``drawn``: what the
    intervals resample, the slice ``test_group``; ``alert_minor``: what an alert costs."""
    asked = section.model_dump(include={*Budget.model_fields})
    advice = {part: decision.advice(table.evaluate(raw)) for part, raw in raws.items()}
    held = Held.of(raws["calibration"], slices)
    alert = {name: advice["calibration"] >= level for name, level in ACTION_LEVELS.items()}

    def alerts(part: str) -> AlertFigures:
        t = slices[f"{part}_t_s"].astype(np.int64)
        return alert_figures(
            advice[part] > 0,
            slices[f"{part}_label"] == 1,
            slices[f"{part}_amount"].astype(np.float64),
            terminals=len(np.unique(slices[f"{part}_terminal"])),
            seconds=max(int(t.max() - t.min()), 86_400) if len(t) else 86_400.0,
            alert_minor=alert_minor,
        )

    return DecisionFacts(
        budget=Budget.model_validate(asked),
        go_online=None if decision.never_online else decision.go_online_q32 / _Q32,
        verify=None if decision.verify_q32 is None else decision.verify_q32 / _Q32,
        decline=None if decision.never_decline else decision.decline_q32 / _Q32,
        promise=promises(section, held, alert),
        drawn=drawn,
        thresholds=at_thresholds(
            {
                "go_online": not decision.never_online,
                "verify": decision.verify_q32 is not None,
                "decline": not decision.never_decline,
            },
            advice["test"],
            slices["test_label"] == 1,
            slices.get("test_group", slices["test_terminal"]),
            populations_of(slices),
        ),
        calibration=alerts("calibration"),
        test=alerts("test"),
    )


def _reasons(chosen: Mapping[str, int], features: Sequence[Feature]) -> list[tuple[int, int]]:
    """Per feature its reasons above and below the usual value. One that was chosen is on the
    sides where the feature has a reason; on both where it has none."""
    given = {feature.name: feature.reasons for feature in features}
    for name, reason in chosen.items():
        if name not in given:
            raise ConfigError(
                f"decision.reasons.{name}: the model has no feature of that name; it has "
                f"{', '.join(given)}"
            )
        sides = given[name] if any(given[name]) else (1, 1)
        if not sides[0] and reason > MAX_BELOW:
            raise ConfigError(
                f"decision.reasons.{name} = {reason}: this feature has a reason below its usual "
                f"value only; give an id of at most {MAX_BELOW}"
            )
        given[name] = (reason if sides[0] else 0, reason if sides[1] else 0)
    return list(given.values())
