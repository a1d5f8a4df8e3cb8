# SPDX-License-Identifier: Apache-2.0
"""The gates of a wave: pure functions of what its members report. docs/rollout.md explains them.

Terminals are clusters: events of one terminal are alike. So every interval is that of a ratio of
sums over terminals, by linearisation (W. G. Cochran, Sampling Techniques, 1977, section 6; D. A.
Binder, On the variances of asymptotically normal estimators from complex surveys, 1983), with
Student's t for few terminals. A stability index is not linear near 0: what clusters add to it on
the average is subtracted (J. N. K. Rao and A. J. Scott, The analysis of categorical data from
complex sample surveys, 1981), and the spread of that part is added to its variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinyfin.rollout.members import OPEN_STAGES, SILENT_STAGES, Counts, Seen, Stage
from tinyfin.rollout.policy import Omissible, Policy

__all__ = ["Gate", "GateState", "Group", "Promise", "confirmed_gate", "gates_of", "precision_gate"]

GateState = Literal["holds", "waits", "broken"]
Floats = npt.NDArray[np.float64]
_FAR = (np.abs(np.subtract.outer(np.arange(4), np.arange(4))) >= 2).ravel()
_SAME = np.eye(4, dtype=bool).ravel()
_CHUNK = 1 << 15
_RULE_OF_THREE = 3.0
"""Without an event in n tries a rate is below 3 / n with 95 %."""


@dataclass(frozen=True)
class Gate:
    """A bound, and what is known of it."""

    name: str
    state: GateState
    found: float | None
    """None: nothing to compute it from."""
    bound: float
    n: int
    """Members, events or hours that it rests on."""
    text: str


@dataclass(frozen=True)
class Promise:
    """What the release promised of the pack."""

    far_share: float = 0.10
    """Of events in shadow, at most; of the pack's last look, as the next two are."""
    differ_share: float = 0.50
    psi: float = 0.25
    alerts_ratio: float = 1.0
    """Alerts of the pack for one of the parent."""
    scores_comparable: bool = False
    """Whether both packs' score histograms have equal shares of the release's data in each bin, so
    that the parent's scores before can be compared with the pack's."""


@dataclass(frozen=True)
class _Estimate:
    value: float
    error: float
    clusters: int

    def margin(self, risk: float) -> float:
        from scipy.special import stdtrit  # quantile of Student's t

        if self.clusters < 2:
            return math.inf
        return float(-stdtrit(self.clusters - 1, risk)) * self.error


@dataclass(frozen=True)
class Group:
    """Members that were offered the pack, and what is known around them."""

    policy: Policy
    promise: Promise
    seen: Seen
    """Of all members."""
    members: npt.NDArray[np.int64]
    """Those of the group, by number."""
    stage: npt.NDArray[np.uint8]
    """Of each member of the group, :class:`Stage`."""
    sample: npt.NDArray[np.int64]
    """Of a large group the members whose events are looked at; else all of them."""
    silent_elsewhere: int = 0
    known_elsewhere: int = 0
    """Of the members of later waves that reported within ``known_days``: those now silent, all."""
    name: str = ""
    """Put before the names of gates."""
    day: int = 1
    """Of the wave, from 1: of the look."""

    @property
    def shows(self) -> bool:
        """Whether bounds must be shown, or not be contradicted."""
        return len(self.members) >= self.policy.gates.shows_from_terminals

    def count(self, *stages: Stage) -> int:
        """Members in one of these stages."""
        return int(np.isin(self.stage, stages).sum())

    def column(self, name: str) -> Counts:
        """A column of ``seen``, of the sample."""
        values: Counts = getattr(self.seen, name)[self.sample]
        return values

    def gate(
        self,
        name: str,
        found: _Estimate | None,
        bound: float,
        n: int,
        enough: int,
        unit: str,
        world: float = 0.0,
    ) -> Gate:
        """``found`` is to be at most ``bound``; it breaks beyond what ``world`` explains, too."""
        name = self.name + name
        if found is None:
            return Gate(name, "waits", None, bound, n, f"no {unit} yet")
        risk = 1 - self.policy.gates.confidence
        state: GateState = "waits"
        if found.value - found.margin(self.policy.look_risk(self.day)) > bound + world:
            state = "broken"
        else:
            against = -1 if self.shows else 1
            margin = found.margin(risk) if self.shows or found.clusters > 1 else 0.0
            if found.value - against * margin <= bound and (n >= enough or against > 0):
                state = "holds"
        text = f"{found.value:.3g}, wanted at most {bound:.3g}; {n:,} {unit}"
        if self.shows and n < enough:
            text += f" of {enough:,}"
        if world:
            text += f"; in the rest of the fleet up to {world:.3g} without the pack"
        return Gate(name, state, found.value, bound, n, text)


def gates_of(group: Group) -> tuple[Gate, ...]:
    """Every bound of a group of members."""
    gates = [_failures(group), _silence(group)]
    for name, made in _OMISSIBLE.items():
        gates += [] if name in group.policy.gates.without else made(group)
    return tuple(gates)


def confirmed_gate(group: Group, wave: int) -> Gate:
    """Whether enough of the wave's members, heard of or not, have confirmed the pack. It never
    breaks."""
    bound = group.policy.gates.confirmed_share
    confirmed, still = group.count(Stage.CONFIRMED), group.count(*OPEN_STAGES)
    share = confirmed / wave
    text = f"{confirmed} of {wave} have confirmed, {still} are on the way; "
    text += f"{100 * bound:g} % wanted"
    return Gate("confirmed", "holds" if share >= bound else "waits", share, bound, wave, text)


def precision_gate(precision: tuple[float, float, float], policy: Policy) -> Gate:
    """Of low, high and promised precision: a reason to halt, never one to go on."""
    low, high, promised = precision
    bound = (1 - policy.gates.precision_drop) * promised
    text = f"{low:.3g} to {high:.3g}, wanted at least {bound:.3g}, promised {promised:.3g}"
    return Gate("precision", "broken" if high < bound else "holds", high, bound, 0, text)


def _failures(group: Group) -> Gate:
    policy, n = group.policy, len(group.members)
    fell = np.isin(group.stage, (Stage.FELL_BACK, Stage.NOT_TAKEN))
    faults = group.seen.faults_after[group.members]
    days = np.maximum(group.seen.hours_after[group.members], 24) / 24
    loops = faults >= np.maximum(policy.gates.fault_loop_per_day * days, 3)
    failed = int((fell | loops).sum())
    ended = n - group.count(*OPEN_STAGES, *SILENT_STAGES)
    most = policy.passes_with(ended)
    broken = failed >= policy.halts_at(n, group.day)
    text = f"{failed} of {n} members, {ended} at their end; of these at most {most} pass"
    return _of_members(
        group, "failures", failed, policy.gates.failure_share, broken, failed <= most, text
    )


def _silence(group: Group) -> Gate:
    gates, n, silent = group.policy.gates, len(group.members), group.count(*SILENT_STAGES)
    known, others = group.known_elsewhere, group.silent_elsewhere
    usual = 1 - _lower(known - others, known, 1 - gates.confidence) if known else 0.0
    bound = min(usual + gates.failure_share, 1.0)
    broken = _lower(silent, n, group.policy.look_risk(group.day)) > bound
    holds = silent <= bound * n or (
        not group.shows and _lower(silent, n, 1 - gates.confidence) <= bound
    )
    text = f"{silent} of {n} members; {others} of {known} of later waves"
    return _of_members(group, "silence", silent, bound, broken, holds, text)


def _of_members(
    group: Group, name: str, count: int, bound: float, broken: bool, holds: bool, text: str
) -> Gate:
    """A gate that counts members."""
    name, n = group.name + name, len(group.members)
    if not n:
        return Gate(name, "waits", None, bound, 0, "no member was offered the pack yet")
    state: GateState = "broken" if broken else "holds" if holds else "waits"
    return Gate(name, state, count / n, bound, n, text)


def _lower(x: int, n: int, risk: float) -> float:
    """The lower Clopper-Pearson bound of x in n."""
    from scipy.special import betaincinv

    return float(betaincinv(x, n - x + 1, risk)) if x else 0.0


def _paired(group: Group) -> Iterator[Gate]:
    table = group.column("table")
    events = table.sum(axis=1, dtype=np.int64)
    n, clusters = int(events.sum()), int((events > 0).sum())
    gates, promise = group.policy.gates, group.promise
    spread = clusters >= gates.paired_terminals
    enough = gates.paired_events if spread else max(gates.paired_events, n + 1)
    rows = table.reshape(-1, 4, 4)
    found = (
        ("far", _ratio(table[:, _FAR].sum(axis=1), events), promise.far_share),
        ("differ", _ratio(table[:, ~_SAME].sum(axis=1), events), promise.differ_share),
        ("paired_psi", _stability(rows.sum(axis=2), rows.sum(axis=1)), promise.psi),
    )
    for name, estimate, bound in found:
        yield group.gate(name, estimate, bound, n, enough, "events in shadow")


def _alerts(group: Group) -> Iterator[Gate]:
    """Two one-sided tests of new alerts - bound x old alerts, each per 1,000 events: no ratio of
    few alerts is formed (E. C. Fieller, 1954)."""
    gates = group.policy.gates
    new, old = group.column("alerts"), group.column("parent_alerts")
    events = group.column("table").sum(axis=1, dtype=np.int64)
    n = int(events.sum())
    most = group.promise.alerts_ratio * (1 + gates.alerts_margin)
    least = group.promise.alerts_ratio * (1 - gates.alerts_margin)
    sides = [
        group.gate("alerts", _ratio(1000 * part, events), 0.0, n, gates.paired_events, "events")
        for part in (new - most * old, least * old - new)
    ]
    worst = max((side.state for side in sides), key=("holds", "waits", "broken").index)
    total, before = int(new.sum()), int(old.sum())
    found = total / before if before else None
    text = (
        f"{total:,} alerts, the parent {before:,}; wanted {least:.3g} to {most:.3g} times as many"
    )
    text += f"; {n:,} events in shadow" if n else "; no events in shadow yet"
    yield Gate(f"{group.name}alerts", worst, found, most, n, text)


def _self_difference(group: Group) -> Iterator[Gate]:
    gates = group.policy.gates
    pairs = [("self_difference", "scores_first")]
    pairs += [("against_parent", "scores_before")] if group.promise.scores_comparable else []
    others = np.flatnonzero(np.isin(group.seen.pair, group.members))
    for name, column in pairs:
        found, n = _moved(group.seen, column, group.sample)
        around, _ = _moved(group.seen, column, others)
        world = 0.0
        if around is not None and around.clusters >= gates.paired_terminals:
            world = max(around.value + around.margin(1 - gates.confidence), 0.0)
        yield group.gate(name, found, gates.self_psi, n, gates.self_events, "events", world)


def _moved(seen: Seen, column: str, members: npt.NDArray[np.int64]) -> tuple[_Estimate | None, int]:
    """How far the scores of members have moved since ``column``, and of how many events."""
    before, after = getattr(seen, column)[members], seen.scores_after[members]
    both = (before.sum(axis=1) > 0) & (after.sum(axis=1) > 0)
    return _stability(before[both], after[both]), int(after[both].sum(dtype=np.int64))


def _faults(group: Group) -> Iterator[Gate]:
    bound = group.policy.gates.fault_rate_per_hour
    yield _more_than_before(group, "faults", ("faults", "hours"), 1, 1.0, bound, bound)


def _saturations(group: Group) -> Iterator[Gate]:
    gates = group.policy.gates
    factor, bound = gates.saturation_factor, gates.saturation_per_1000
    columns = ("saturated", "events")
    yield _more_than_before(group, "saturations", columns, 1000, factor, bound, max(bound, 0.1))


_OMISSIBLE: dict[Omissible, Callable[[Group], Iterable[Gate]]] = {
    "paired": _paired,
    "alerts": _alerts,
    "self_difference": _self_difference,
    "faults": _faults,
    "saturations": _saturations,
}


def _more_than_before(
    group: Group,
    name: str,
    columns: tuple[str, str],
    per: int,
    factor: float,
    bound: float,
    rarest: float,
) -> Gate:
    """Count for ``per`` of exposure (their columns), less ``factor`` times that before the offer.
    ``rarest``: a rate that enough exposure would show."""
    counts, exposure = columns
    before, after = (
        (per * group.column(f"{counts}_{when}"), group.column(f"{exposure}_{when}"))
        for when in ("before", "after")
    )
    enough = math.ceil(per * _RULE_OF_THREE / rarest)
    found = _difference(after, before, factor)
    return group.gate(name, found, bound, int(after[1].sum()), enough, exposure)


def _ratio(top: npt.NDArray[np.number], below: Counts) -> _Estimate | None:
    """Sum of ``top`` over sum of ``below``, one row for each cluster."""
    return _difference((top, below), (0 * below, 0 * below), 0.0)


def _difference(
    after: tuple[npt.NDArray[np.number], Counts],
    before: tuple[npt.NDArray[np.number], Counts],
    factor: float,
) -> _Estimate | None:
    """The ratio after, less ``factor`` times that before; None without anything after."""
    total = float(after[1].sum())
    if total <= 0:
        return None
    value = float(after[0].sum()) / total
    residual = (after[0] - value * after[1]) / total
    earlier = float(before[1].sum())
    if earlier > 0 and factor:
        rate = float(before[0].sum()) / earlier
        residual = residual - factor * (before[0] - rate * before[1]) / earlier
        value -= factor * rate
    clusters = int((after[1] > 0).sum())
    spread = clusters / max(clusters - 1, 1) * float(np.dot(residual, residual))
    return _Estimate(value, math.sqrt(spread), clusters)


def _stability(before: Counts, after: Counts) -> _Estimate | None:
    """The stability index of the sums of two tables int[clusters, bins], less what clusters add."""
    a, b = before.sum(axis=0, dtype=np.int64), after.sum(axis=0, dtype=np.int64)
    used = (a + b) > 0
    if not a.sum() or not b.sum():
        return None
    half = 0.5  # of an event: an empty bin is no infinite distance
    p, q = ((n[used] + half) / (n.sum() + half * used.sum()) for n in (a, b))
    log = np.log(q / p)
    gradient = (1 - q / p - log, 1 - p / q + log)
    clusters, bins = int(((before.sum(axis=1) + after.sum(axis=1)) > 0).sum()), int(used.sum())
    linear, scatter = 0.0, np.zeros((bins, bins))
    for start in range(0, len(before), _CHUNK):  # float64 copies of all rows would be large
        x, y = (t[start : start + _CHUNK][:, used].astype(np.float64) for t in (before, after))
        x = (x - x.sum(axis=1, keepdims=True) * p) / a.sum()
        y = (y - y.sum(axis=1, keepdims=True) * q) / b.sum()
        along = x @ gradient[0] + y @ gradient[1]
        linear += float(along @ along)
        y -= x
        scatter += y.T @ y
    grown = clusters / max(clusters - 1, 1)
    weighted = grown * scatter * (2 / (p + q))
    variance = grown * linear + 2 * float((weighted * weighted.T).sum())
    value = float(((q - p) * log).sum()) - float(np.trace(weighted))
    return _Estimate(value, math.sqrt(variance), clusters)
