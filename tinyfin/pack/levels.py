# SPDX-License-Identifier: Apache-2.0
"""LEVL: thresholds that a terminal may choose from to keep its alert budget
(formats/probation.md)."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import InputError, PackError
from tinyfin.pack.decision import NEVER_Q32, Decision

__all__ = ["DAY_S", "LevelsSection", "alert_rate", "levels_section"]

DAY_S = 86400
_ONE_Q24 = 1 << 24
_HEAD = struct.Struct("<BBHIIHH")
_LEVEL = struct.Struct("<II")


@dataclass(frozen=True)
class LevelsSection:
    """The section. ``thresholds``: go_online_q32 and decline_q32 of each level; ``target_q24``:
    alerts per event times 2^24; ``events`` and ``seconds``: at least so many between two steps;
    ``limit``: alerts too many or too few that make a step. Raises PackError where it breaks a
    rule."""

    thresholds: tuple[tuple[int, int], ...]
    usual: int
    target_q24: int
    events: int = 200
    seconds: int = DAY_S
    limit: int = 16

    def __post_init__(self) -> None:
        pairs = tuple((int(online), int(decline)) for online, decline in self.thresholds)
        object.__setattr__(self, "thresholds", pairs)
        if not 2 <= len(pairs) <= 8 or not 0 <= self.usual < len(pairs):
            raise PackError(f"LEVL: level {self.usual} of {len(pairs)}; 2 to 8 levels are needed")
        for i, (online, decline) in enumerate(pairs):
            if not 0 <= online <= decline <= NEVER_Q32:
                raise PackError(
                    f"LEVL: level {i}: go_online_q32 {online} must not exceed decline_q32 "
                    f"{decline}, both 0 to 2^32 - 1"
                )
            if i and (online < pairs[i - 1][0] or decline < pairs[i - 1][1]):
                raise PackError(f"LEVL: level {i}: a threshold is lower than at level {i - 1}")
        if not 0 < self.target_q24 < _ONE_Q24:
            raise PackError(f"LEVL: the target {self.target_q24} must be 1 to 2^24 - 1")
        if not 0 <= self.events <= 65535 or not 0 <= self.seconds < 2**32:
            raise PackError("LEVL: events must be at most 65535, seconds at most 2^32 - 1")
        if not 1 <= self.limit <= 64:
            raise PackError(f"LEVL: the limit {self.limit} must be 1 to 64")

    def encode(self) -> bytes:
        """The payload."""
        head = _HEAD.pack(
            len(self.thresholds),
            self.usual,
            self.events,
            self.target_q24,
            self.seconds,
            self.limit,
            0,
        )
        return head + b"".join(_LEVEL.pack(*pair) for pair in self.thresholds)

    @classmethod
    def decode(cls, payload: bytes) -> LevelsSection:
        """Exact inverse of :meth:`encode`. Raises PackError."""
        if len(payload) < _HEAD.size:
            raise PackError("LEVL: offset 0: the payload is shorter than its head of 16 bytes")
        k, usual, events, target, seconds, limit, zero = _HEAD.unpack_from(payload)
        if zero or len(payload) != _HEAD.size + _LEVEL.size * k:
            raise PackError(f"LEVL: offset 0: {k} levels do not make {len(payload)} bytes")
        pairs = tuple(_LEVEL.iter_unpack(payload[_HEAD.size :]))
        return cls(pairs, usual, target, events, seconds, limit)

    def check(self, decision: Decision) -> None:
        """PackError unless the usual level is the decision's."""
        if self.thresholds[self.usual] != (decision.go_online_q32, decision.decline_q32):
            raise PackError("LEVL: the thresholds of the usual level are not those of DECI")


def alert_rate(
    scores: NDArray[np.uint32], online_q32: int, decline_q32: int, decision: Decision
) -> float:
    """Share of scores whose verdict is not ACCEPT at these thresholds, by the decision's flags."""
    alerts = np.zeros(len(scores), bool)
    if not decision.never_online:
        alerts |= scores >= online_q32
    if not decision.never_decline:
        alerts |= scores >= decline_q32
    return float(alerts.mean())


def levels_section(
    scores: NDArray[np.uint32],
    decision: Decision,
    *,
    budget: float | None = None,
    factor: float = 1.5,
    span: int = 2,
    events: int = 200,
    seconds: int = DAY_S,
    limit: int = 16,
) -> LevelsSection:
    """Levels around the thresholds of ``decision``: from one to the next the alert rate falls by
    about ``factor``, ``span`` levels up and down.

    scores: ``score_q32`` of events as terminals meet them, uint32[n]. budget: alerts per event; if
    None, what the usual thresholds give. A threshold at 2^32 - 1, and one that a flag switches off,
    stays. Raises InputError when the scores cannot tell the levels apart.
    """
    ordered = np.sort(np.asarray(scores, np.uint32))
    if not len(ordered):
        raise InputError("levels: no scores; give the scores of a period")
    usual = (decision.go_online_q32, decision.decline_q32)
    off = (decision.never_online, decision.never_decline)
    if not 1 <= span <= 3 or not factor > 1:
        raise InputError(f"levels: span {span} must be 1 to 3, factor {factor} above 1")
    rates = [float((ordered >= t).mean()) for t in usual]
    pairs = []
    for level in range(-span, span + 1):
        online, decline = (
            t
            if level == 0 or out or t == NEVER_Q32
            else _threshold(ordered, t, rate, factor**-level)
            for t, rate, out in zip(usual, rates, off, strict=True)
        )
        pairs.append((min(online, decline), decline))
    found = [alert_rate(ordered, *pair, decision) for pair in pairs]
    if any(b >= a for a, b in itertools.pairwise(found)):
        rows = ", ".join(f"{rate:.5f}" for rate in found)
        raise InputError(
            f"levels: {len(ordered)} scores give alert rates {rows}, which do not fall from level "
            "to level; give more events, or a smaller span"
        )
    target = round((found[span] if budget is None else budget) * _ONE_Q24)
    return LevelsSection(
        tuple(pairs), span, min(max(target, 1), _ONE_Q24 - 1), events, seconds, limit
    )


def _threshold(ordered: NDArray[np.uint32], usual: int, rate: float, times: float) -> int:
    """The threshold that is passed ``times`` as often, on the right side of the usual one."""
    n = len(ordered)
    passed = min(max(round(rate * n * times), 0), n)
    cut = int(ordered[n - passed]) if passed else int(ordered[-1]) + 1
    cut = min(cut, NEVER_Q32 - 1)
    return min(cut, usual) if times > 1 else max(cut, usual)
