# SPDX-License-Identifier: Apache-2.0
"""Thresholds: from budgets of false alerts, from what errors cost, or as probabilities.

All are set on the calibration rows, before the test begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    Budget,
    BudgetPromise,
    DecisionFacts,
    Population,
)
from tinyfin.training.alert_guarantee import budget_promise, cautious_alerts
from tinyfin.training.alert_metrics import alert_figures
from tinyfin.training.confusion import ACTION_LEVELS, at_thresholds
from tinyfin.training.run_folder import Slices

__all__ = [
    "Held",
    "decide",
    "false_alerts_allowed",
    "promises",
    "realised",
    "threshold_cost",
    "threshold_raw",
]

WEEK_S = 7 * 86_400
_Q32 = float(1 << 32)


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


def _budgets(section: DecisionSection, action: Action) -> tuple[float | None, float | None]:
    """Of an action: per 1,000, and per terminal and week; both None where a probability or costs
    set its threshold, or a budget of 0 says never."""
    fixed = getattr(section, action) is not None
    if fixed or getattr(section.costs, f"{action}_minor") is not None:
        return None, None
    per_1000: float | None = getattr(section, f"{action}_per_1000")
    per_week: float | None = getattr(section, f"{action}_per_terminal_week")
    # the default budget steps back when the other one is given
    if per_week is not None and f"{action}_per_1000" not in section.model_fields_set:
        per_1000 = None
    return (None, None) if per_1000 == 0 or per_week == 0 else (per_1000, per_week)


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
        budgets = _budgets(section, action)
        share = _share_allowed(held, *budgets)
        if share is not None and held.genuine:
            count = false_alerts_allowed(held, *budgets, section.confidence)
            if alert is not None:
                count = int(np.count_nonzero(alert[action] & (held.label != 1)))
            out[action] = budget_promise(held.genuine, count or 0, share, section.confidence)
    return out


def threshold_raw(raw: npt.NDArray[np.int32], label: npt.NDArray[np.int8], allowed: int) -> int:
    """The lowest raw score at which at most ``allowed`` genuine rows alert."""
    genuine = np.sort(raw[label != 1].astype(np.int64))[::-1]
    if not len(genuine):
        return int(raw.min())
    return int(genuine[-1]) if allowed >= len(genuine) else int(genuine[allowed]) + 1


def threshold_cost(held: Held, false_alert: float, missed: float) -> int | None:
    """The raw score from which alerting costs least on these rows; None when it never pays.

    A missed fraud costs ``missed`` times its amount, an alert on a genuine row ``false_alert``
    minor units.
    """
    order = np.argsort(-held.raw.astype(np.int64), kind="stable")
    raw, fraud = held.raw[order], held.label[order] == 1
    gain = np.cumsum(np.where(fraud, missed * held.amount[order], -false_alert))
    last = np.r_[np.flatnonzero(np.diff(raw)), len(raw) - 1]
    best = int(np.argmax(gain[last]))
    return int(raw[last[best]]) if gain[last[best]] > 0 else None


def decide(
    section: DecisionSection,
    table: Calibration,
    held: Held,
    *,
    features: Sequence[Feature],
    references: Sequence[int],
) -> Decision:
    """The decision of a pack, thresholds set on the calibration rows.

    ``references`` are int8 codes of the features' usual values. For each action a probability that
    was chosen goes before costs, and costs before budgets. Raises ConfigError.
    """

    def q32(raw: int | None) -> int | None:
        if raw is None or raw > table.raw[-1]:
            return None
        return int(table.evaluate(np.asarray([raw], np.int64))[0])

    def find(action: Action) -> int | None:
        chosen: float | None = getattr(section, action)
        if chosen is not None:
            return to_q32(chosen)
        cost: float | None = getattr(section.costs, f"{action}_minor")
        if cost is not None:
            return q32(threshold_cost(held, cost, section.costs.missed))
        allowed = false_alerts_allowed(held, *_budgets(section, action), section.confidence)
        return None if allowed is None else q32(threshold_raw(held.raw, held.label, allowed))

    online, decline = find("go_online"), find("decline")
    low = NEVER_Q32 if online is None else online
    high = NEVER_Q32 if decline is None else max(low if online is not None else 0, decline)
    reasons = _reasons(section.reasons, features)
    return Decision(
        reasons=tuple(above for above, _ in reasons),
        below=tuple(below for _, below in reasons),
        references=tuple(references),
        go_online_q32=min(low, high),
        decline_q32=high,
        never_online=online is None,
        never_decline=decline is None,
        control_share_q16=min(round(section.control_share * 65536), 65535),
        cold_events=section.cold_events,
        cold_s=section.cold,
    )


def realised(
    section: DecisionSection,
    decision: Decision,
    table: Calibration,
    slices: Slices,
    raws: Mapping[str, npt.NDArray[np.int32]],
    drawn: str,
) -> DecisionFacts:
    """Thresholds as probabilities, what they were set by, and the alerts they give on the rows
    they were set on (``calibration``) and on those of the test, as ``raws`` names them; what the
    first promise of the budgets, and the confusion counts of the second. ``drawn``: what the
    intervals resample, the slice ``test_group``."""
    asked = section.model_dump(include={*Budget.model_fields})
    actions = {part: decision.evaluate(table.evaluate(raw)) for part, raw in raws.items()}
    held = Held.of(raws["calibration"], slices)
    alert = {name: actions["calibration"] >= level for name, level in ACTION_LEVELS.items()}
    populations: dict[Population, npt.NDArray[np.bool_]] = {
        "all": np.ones(len(actions["test"]), bool)
    }
    if "test_without_known_cards" in slices:
        populations["known_cards_removed"] = slices["test_without_known_cards"]

    def alerts(part: str) -> AlertFigures:
        t = slices[f"{part}_t_s"].astype(np.int64)
        return alert_figures(
            actions[part] > 0,
            slices[f"{part}_label"] == 1,
            slices[f"{part}_amount"].astype(np.float64),
            terminals=len(np.unique(slices[f"{part}_terminal"])),
            seconds=max(int(t.max() - t.min()), 86_400) if len(t) else 86_400.0,
            false_alert=section.costs.go_online_minor or 0.0,
        )

    return DecisionFacts(
        budget=Budget.model_validate(asked),
        go_online=None if decision.never_online else decision.go_online_q32 / _Q32,
        decline=None if decision.never_decline else decision.decline_q32 / _Q32,
        promise=promises(section, held, alert),
        drawn=drawn,
        thresholds=at_thresholds(
            {"go_online": not decision.never_online, "decline": not decision.never_decline},
            actions["test"],
            slices["test_label"] == 1,
            slices.get("test_group", slices["test_terminal"]),
            populations,
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
