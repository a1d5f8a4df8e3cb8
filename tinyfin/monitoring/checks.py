# SPDX-License-Identifier: Apache-2.0
"""Checks: what was found against what was to be expected, in a sentence each."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

from tinyfin.config import Monitor
from tinyfin.results.monitor import (
    Bounded,
    CheckResult,
    ColumnDrift,
    LabelFigures,
    Monitoring,
    State,
)
from tinyfin.training.bootstrap import wilson
from tinyfin.training.notices import FEW

__all__ = ["by_state", "checks_of", "worst"]

_ORDER: tuple[State, ...] = ("failed", "warning", "too_few_rows", "ok")
_COLD = 0.2
"""Share of verdicts with the flag COLD from which it is said."""


def worst(checks: Sequence[CheckResult]) -> State:
    """The state of all checks together; too few rows only where no check had enough."""
    found = {check.state for check in checks}
    for state in ("failed", "warning", "ok"):
        if state in found:
            return state
    return "too_few_rows"


def by_state(checks: Iterable[CheckResult]) -> list[CheckResult]:
    """The checks that failed first, those of one state in their order."""
    return sorted(checks, key=lambda check: _ORDER.index(check.state))


def checks_of(found: Monitoring, limits: Monitor, label_fed: Collection[str]) -> list[CheckResult]:
    """The checks, the most important first: by state, then what costs money before what hints."""
    made = [
        *(() if found.labels is None else _of_labels(found.labels, limits)),
        _alerts(found, limits),
        _notices(found, limits, label_fed),
        *(_drift(column, found, limits) for column in found.columns),
        *_cold(found),
    ]
    return by_state(made)


def _too_high(figure: Bounded, limit: float, limits: Monitor) -> State:
    low = figure.interval[0]
    return "failed" if low > limits.factor * limit else "warning" if low > limit else "ok"


def _too_low(figure: Bounded, limits: Monitor) -> State:
    high = figure.interval[1]
    if high < figure.expected / limits.factor:
        return "failed"
    return "warning" if high < figure.expected else "ok"


def _of_labels(labels: LabelFigures, limits: Monitor) -> Iterator[CheckResult]:
    if not labels.rows:
        text = f"none of {labels.immature:,} labels is old enough"
        yield CheckResult(check="labels", state="too_few_rows", text=text)
        return
    genuine = labels.rows - labels.frauds
    enough = genuine >= limits.min_rows
    for action, figure in labels.false_alerts_per_1000.items():
        if math.isfinite(figure.expected):
            yield CheckResult(
                check=f"false alerts, {action.replace('_', ' ')}",
                state=_too_high(figure, figure.expected, limits) if enough else "too_few_rows",
                text=f"{_figure(figure)} false alerts per 1,000 genuine transactions; the budget "
                f"is {figure.expected:.3g}, of {genuine:,} genuine transactions",
            )
    promised = labels.frauds_promised
    if promised is not None:
        many = promised.expected + promised.observed >= limits.min_frauds
        yield CheckResult(
            check="frauds promised",
            state=_promised(promised.expected, promised.observed, promised.within, limits)
            if labels.rows >= limits.min_rows and many
            else "too_few_rows",
            text=f"{promised.observed:,} frauds came, and the probabilities promised "
            f"{promised.expected:,.1f} ({promised.low:,.1f} to {promised.high:,.1f})",
        )
    yield from _against_test(labels, limits)


def _against_test(labels: LabelFigures, limits: Monitor) -> Iterator[CheckResult]:
    """Recall and average precision, where the test rows of the run have them, too."""
    figures = {
        f"recall, {action.replace('_', ' ')}": (figure, f"of {labels.frauds:,} frauds got an alert")
        for action, figure in labels.recall.items()
    }
    said = f"with {labels.frauds:,} frauds"
    for name, (figure, what) in {
        **figures,
        "average precision": (labels.average_precision, said),
    }.items():
        if math.isfinite(figure.expected):
            yield CheckResult(
                check=name,
                state=_too_low(figure, limits)
                if labels.frauds >= limits.min_frauds and labels.rows > labels.frauds
                else "too_few_rows",
                text=f"{_figure(figure)} {what}; {figure.expected:.3g} on the test rows of the run",
            )


def _promised(expected: float, observed: float, within: bool, limits: Monitor) -> State:
    if within:
        return "ok"
    far = max(observed, expected) > limits.factor * min(observed, expected)
    return "failed" if far else "warning"


def _figure(figure: Bounded) -> str:
    low, high = figure.interval
    if not math.isfinite(figure.value):
        return "no figure"
    return f"{figure.value:.3g} ({low:.3g} to {high:.3g})"


def _alerts(found: Monitoring, limits: Monitor) -> CheckResult:
    figure = found.alerts_per_1000
    budget = sum(found.budget_per_1000.values())
    usual = budget
    if math.isfinite(figure.expected):  # few calibration rows do not say it exactly
        usual = max(budget, 1000 * wilson(figure.expected / 1000, found.calibration_rows)[1])
    state: State = "too_few_rows"
    if found.data.rows >= limits.min_rows:
        state = _too_high(figure, usual, limits)
        if state == "ok" and figure.interval[1] < usual / limits.factor:
            state = "warning"
    said = "".join(
        f", with a budget of {x:.3g} false ones to {action.replace('_', ' ')}"
        for action, x in found.budget_per_1000.items()
    )
    return CheckResult(
        check="alerts",
        state=state,
        text=f"{_figure(figure)} alerts per 1,000 transactions; {figure.expected:.3g} on the rows "
        f"that the thresholds were set on{said}",
    )


def _notices(found: Monitoring, limits: Monitor, label_fed: Collection[str]) -> CheckResult:
    total = sum(found.notices.values())
    missing = (found.notices["missing"] + found.notices["other"]) / max(total, 1)
    if not label_fed:
        text = "no feature needs notices"
    else:
        text = f"{100 * (1 - missing):.1f} % of the transactions had notices as trained"
        if missing > FEW:
            text += (
                f"; probabilities and budgets do not hold for the others, and the {len(label_fed)} "
                "inputs that notices move are not compared: give labels as far as they were known, "
                "and earlier transactions with --warmup"
            )
    state: State = "ok"
    if label_fed and total < limits.min_rows:
        state = "too_few_rows"
    elif missing > FEW:
        state = "failed" if missing >= limits.missing_notices else "warning"
    return CheckResult(check="notices", state=state, text=text)


def _drift(column: ColumnDrift, found: Monitoring, limits: Monitor) -> CheckResult:
    text = (
        f"population stability index {column.stability_index:.3f}, Jensen-Shannon distance "
        f"{column.jensen_shannon:.3f}"
    )
    if column.state == "too_few_rows":
        text = f"{column.rows:,} rows to compare with {column.trained_rows:,}"
    elif column.state != "ok":
        limit = limits.psi_failed if column.state == "failed" else limits.psi_warning
        above = [
            week.begin
            for week, index in zip(found.weeks, column.by_week, strict=True)
            if index >= limit
        ]
        if above and len(found.weeks) > 1:
            text += f"; {limit:g} or more since the week of {above[0]}"
        change, name = max(
            (after - before, name)
            for before, after, name in zip(column.trained, column.found, column.bins, strict=True)
        )
        text += f"; most gained: {name} ({100 * change:+.1f} percentage points)"
    subject = "score" if column.kind == "score" else f"{column.kind} {column.name}"
    return CheckResult(check=subject, state=column.state, text=text)


def _cold(found: Monitoring) -> Iterator[CheckResult]:
    cold = found.cold_rows / found.data.rows
    if cold > _COLD:
        yield CheckResult(
            check="cold verdicts",
            state="warning",
            text=f"{100 * cold:.1f} % of the verdicts are COLD: the terminals had little history; "
            "give earlier transactions with --warmup",
        )
