# SPDX-License-Identifier: Apache-2.0
"""What the calibration rows guarantee of a budget of false alerts, and the cautious threshold.

Let n genuine rows be drawn independently from future data, and let a threshold be just above
the (a + 1)-th largest of their raw scores, so that a of them alert. The share of all genuine
transactions that alert is then at most Beta(a + 1, n - a) distributed, whatever the distribution of
the scores (S. S. Wilks, Determination of sample sizes for setting tolerance limits, 1941; with ties
it is smaller still, H. Scheffe and J. W. Tukey, Non-parametric estimation, 1945). Its quantile is
the one-sided exact binomial limit of C. J. Clopper and E. S. Pearson (1934). False alerts that come
in bursts, and a world that changes, are not in it.

Where costs choose one of the thresholds at which at most a genuine rows alert, the number of alerts
at the chosen one guarantees nothing, because the same rows chose it. But none of these thresholds
is below the one at which a rows alert, so the limit for a alerts holds for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tinyfin.results.metrics import Action, Bound, BudgetPromise

__all__ = ["CONFIDENCE", "budget_promise", "cautious_alerts", "highest_rate", "promise_lines"]

CONFIDENCE = 0.9
"""Of what is printed where [decision] confidence does not say."""


def highest_rate(alerts: int, genuine: int, confidence: float) -> float:
    """The share of genuine transactions that alert is not above this, with ``confidence``, when
    ``alerts`` of ``genuine`` calibration rows do."""
    from scipy.stats import beta

    if alerts >= genuine:
        return 1.0
    return float(beta.ppf(confidence, alerts + 1, genuine - alerts))


def cautious_alerts(genuine: int, budget: float, confidence: float) -> int | None:
    """The most alerts on ``genuine`` calibration rows with which the budget, a share of genuine
    transactions, is kept with ``confidence``; None when even zero alerts do not keep it."""
    low, high = -1, math.floor(budget * genuine) + 1  # kept at low, not kept at high
    while high - low > 1:
        middle = (low + high) // 2
        if highest_rate(middle, genuine, confidence) <= budget:
            low = middle
        else:
            high = middle
    return None if low < 0 else low


def budget_promise(
    genuine: int,
    alerts: int,
    budget: float,
    confidence: float | None,
    *,
    allowed: int | None = None,
    bound_by: Bound | None = None,
) -> BudgetPromise:
    """What is known of a budget, a share of genuine transactions, before the test.

    ``alerts``: of the genuine calibration rows at the threshold in force. ``confidence``: with
    which the threshold is to keep the budget; None if it was set on the calibration rows alone.
    ``allowed``: the most alerts among which costs chose the threshold, None where they did not;
    ``bound_by``: what kept it from being lower, if that is known.
    """
    used = confidence or CONFIDENCE
    highest = highest_rate(max(alerts, allowed or 0), genuine, used)
    needed = math.ceil(math.log(1 - used) / math.log1p(-budget)) if 0 < budget < 1 else 1
    if needed > 1 and highest_rate(0, needed - 1, used) <= budget:  # rounded up from one row less
        needed -= 1
    found = BudgetPromise(
        cautious=confidence is not None,
        confidence=used,
        genuine_rows=genuine,
        genuine_rows_needed=needed,
        alerts=alerts,
        budget_per_1000=1000 * budget,
        at_most_per_1000=1000 * highest,
        kept=highest <= budget,
        cautious_alerts=cautious_alerts(genuine, budget, used),
    )
    if allowed is not None:
        found.alerts_allowed = allowed
    if bound_by is not None:
        found.bound_by = bound_by
    return found


def promise_lines(promises: Mapping[Action, BudgetPromise]) -> list[str]:
    """A sentence per action, for people."""
    lines = []
    for action, p in promises.items():
        rows, sure = f"{p.genuine_rows:,}", f"{100 * p.confidence:g} % confidence"
        most = f"at most {p.at_most_per_1000:.3g} per 1,000 future transactions with {sure}"
        line = (
            f"{action.replace('_', ' ')}: budget of false alerts {p.budget_per_1000:.3g} per "
            f"1,000 genuine; "
        )
        if p.bound_by == "budget":
            line += "the budget bounds the threshold, costs alone would alert on more; "
        elif p.bound_by == "costs":
            line += "the costs bound the threshold, the budget would allow a lower one; "
        if p.cautious and p.cautious_alerts is None:
            line += f"the action is never taken: of {rows} genuine calibration rows none may alert"
            line += f", and that still says {most}"
        else:
            count = f"{p.alerts} of {rows} genuine calibration rows alert"
            if p.alerts_allowed is not None and p.bound_by is None:
                count = f"up to {count} (costs choose how many)"
            elif p.alerts_allowed is not None:
                count += f" (costs could choose 0 to {p.alerts_allowed})"
            line += f"{count}: {most}"
        if p.cautious_alerts is None:
            line += f"; keeping the budget so needs {p.genuine_rows_needed:,} genuine rows"
        elif not p.kept:
            up_to = "with" if p.alerts_allowed is None else "with up to"
            line += (
                f"; `--confidence {p.confidence:g}` keeps it, {up_to} {p.cautious_alerts} alerts"
            )
        lines.append(line)
    return lines
