# SPDX-License-Identifier: Apache-2.0
"""Counterfactuals: the smallest change of one input with which an event is accepted.

Every value is scored by the twin in the state in which the event came. A score need not rise with
an input, so values are scanned, and what was found is refined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from tinyfin.explanation.event import Terminal
from tinyfin.results.explanation import Change

__all__ = ["changes", "nearest"]

_GRID = 2000
"""Values that are tried at once in each direction."""
_TIMES, _LEAST = 10, 1000
"""Amounts are tried up to so many times the event's, and at least up to so many minor units."""

Whole = npt.NDArray[np.int64]


def changes(terminal: Terminal, alert_q32: int, decimals: int | None) -> Iterator[Change]:
    """Of amount and entry mode where the event has them, and of the hour.

    ``alert_q32``: the lowest score that is not accepted; ``decimals``: of amounts as text, None for
    minor units."""
    tx, at = terminal.tx, terminal.at
    own, clock = tx.values[at], int(tx.t_local_s[at])
    hour = clock % 86_400 // 3600

    def accepted(column: int | None, values: Whole) -> npt.NDArray[np.bool_]:
        rows, clocks = np.repeat(own[None, :], len(values), axis=0), np.full(len(values), clock)
        if column is None:
            clocks += (values - hour) * 3600
        else:
            rows[:, column] = values
        return terminal.scores(rows, clocks) < alert_q32

    for i, field in enumerate(tx.schema.fields):
        if not int(tx.present[at]) >> i & 1:
            continue
        if field.name == "amount_minor":
            yield _amount(partial(accepted, i), int(own[i]), decimals)
        elif field.name == "entry_mode":
            modes = np.delete(np.arange(len(field.values)), own[i])
            good = [field.values[j] for j in modes[accepted(i, modes)]]
            yield _change(field.name, len(modes), field.values[own[i]], good, ", ".join(good))
    # the nearest hour first
    hours = (hour + np.array([j * way for j in range(1, 13) for way in (-1, 1)][:-1])) % 24
    fine = hours[accepted(None, hours)].tolist()
    more = f", or one of {len(fine) - 1} more," if len(fine) > 1 else ""
    yield _change("hour", len(hours), hour, fine, f"{[*fine, 0][0]}{more}")


def _change(
    field: str, tried: int, now: int | str, accepted: list[int] | list[str], text: str
) -> Change:
    name = field.replace("_", " ")
    said = f"with {name} {text} in place of {now} it would have been accepted"
    if not accepted:
        said = f"with no other {name} would it have been accepted"
    return Change(field=field, tried=tried, value=now, accepted=[*accepted], text=said)


def _amount(
    accepted: Callable[[Whole], npt.NDArray[np.bool_]], now: int, decimals: int | None
) -> Change:
    tried: list[int] = []

    def asked(values: Whole) -> npt.NDArray[np.bool_]:
        tried.append(len(values))
        return accepted(values)

    def money(minor: int) -> str:
        return f"{minor / 10 ** (decimals or 0):,.{decimals or 0}f}"

    top, unit = max(_TIMES * now, _LEAST), " minor units" if decimals is None else ""
    ends = [a for end in (0, top) if (a := nearest(asked, now, end)) is not None]
    best = sorted(ends, key=lambda a: abs(a - now))[:1]
    said = (
        f"with none of {sum(tried):,} amounts from {money(0)} to {money(top)}{unit} would it have "
        "been accepted"
    )
    for amount in best:
        said = (
            f"with {money(abs(amount - now))}{unit} {'less' if amount < now else 'more'} "
            f"({money(amount)} in place of {money(now)}) it would have been accepted"
        )
    return Change(field="amount_minor", tried=sum(tried), value=now, accepted=[*best], text=said)


def nearest(accepted: Callable[[Whole], npt.NDArray[np.bool_]], now: int, end: int) -> int | None:
    """The accepted value nearest to ``now`` on the way to ``end``, as far as grids show it; the
    value before it is not accepted. None where the first grid finds none."""
    way = 1 if end > now else -1
    low, high, best = 0, abs(end - now), None
    while high > low:
        spaced = np.geomspace if best is None else np.linspace
        steps = np.unique(np.rint(spaced(low + 1, high, _GRID)).astype(np.int64))
        fine = np.flatnonzero(accepted(now + way * steps))
        if not len(fine):
            break
        first = int(fine[0])
        best = now + way * int(steps[first])
        low, high = int(steps[first - 1]) if first else low, int(steps[first]) - 1
        if not first:
            break
    return best
