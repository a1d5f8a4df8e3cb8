# SPDX-License-Identifier: Apache-2.0
"""PROB: the bounds within which a pack replaces its parent (formats/probation.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tinyfin.errors import PackError
from tinyfin.formats import PROBATION_HEAD, PROBATION_LOOK

__all__ = ["MAX_LOOKS", "Cuts", "Look", "Probation"]

MAX_LOOKS = 4
_AUTO_TRIAL, _AUTO_CONFIRM = 1, 2
_U16, _U32 = (1 << 16) - 1, (1 << 32) - 1

Cuts = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """After so many events of the shadow: how many may lie two or more bins apart (``far``) or in
    different bins (``differ``), and the stability index times 1,024, each at most."""

    events: int
    far: int
    differ: int
    psi_q10: int

    def __post_init__(self) -> None:
        numbers = (self.events, self.far, self.differ, self.psi_q10)
        if not all(0 <= number <= _U16 for number in numbers):
            raise PackError(f"PROB: look {numbers}: numbers must be 0 to {_U16}")


@dataclass(frozen=True)
class Probation:
    """The bounds. Raises PackError for what the format does not allow.

    ``parent``: 16 bytes, the model id of the pack that this one is to replace. ``parent_cuts`` and
    ``own_cuts``: of score_q32, three each, ascending strictly. An alert count passes when it is at
    most ``(alerts_factor_q8 * alerts of the parent >> 8) + alerts_more``. ``trial_events`` 0: the
    trial has no bounds and ends by command.
    """

    parent: bytes
    parent_cuts: Cuts
    own_cuts: Cuts
    looks: tuple[Look, ...]
    auto_trial: bool = False
    auto_confirm: bool = False
    alerts_factor_q8: int = 512
    alerts_more: int = 0
    trial_events: int = 0
    trial_alerts: int = 0
    trial_saturated: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "looks", tuple(self.looks))
        if len(self.parent) != 16:
            raise PackError(f"PROB: the parent's model id has 16 bytes, not {len(self.parent)}")
        for name in ("parent_cuts", "own_cuts"):
            object.__setattr__(self, name, _cuts(name, getattr(self, name)))
        if not 1 <= len(self.looks) <= MAX_LOOKS:
            raise PackError(f"PROB: offset 40: {len(self.looks)} looks; there are 1 to {MAX_LOOKS}")
        events = [0, *(look.events for look in self.looks)]
        if any(low >= high for low, high in pairwise(events)):
            raise PackError(
                f"PROB: offset 56: looks after {events[1:]} events must ascend strictly, from 1 on"
            )
        for name in (
            "alerts_factor_q8",
            "alerts_more",
            "trial_events",
            "trial_alerts",
            "trial_saturated",
        ):
            if not 0 <= (number := getattr(self, name)) <= _U16:
                raise PackError(f"PROB: {name} {number} must be 0 to {_U16}")

    def encode(self) -> bytes:
        """The payload."""
        head = PROBATION_HEAD.pack(
            self.parent,
            *self.parent_cuts,
            *self.own_cuts,
            len(self.looks),
            self.auto_trial * _AUTO_TRIAL | self.auto_confirm * _AUTO_CONFIRM,
            self.alerts_more,
            self.trial_events,
            self.trial_alerts,
            self.trial_saturated,
            self.alerts_factor_q8,
            0,
        )
        return head + b"".join(
            PROBATION_LOOK.pack(look.events, look.far, look.differ, look.psi_q10)
            for look in self.looks
        )

    @classmethod
    def decode(cls, payload: bytes) -> Probation:
        """Raises PackError naming offset and rule."""
        if len(payload) < PROBATION_HEAD.size:
            raise PackError(f"PROB: {len(payload)} bytes; its head alone has {PROBATION_HEAD.size}")
        parent, a, b, c, d, e, f, n, flags, more, trial, alerts, saturated, factor, zero = (
            PROBATION_HEAD.unpack_from(payload)
        )
        if len(payload) != PROBATION_HEAD.size + PROBATION_LOOK.size * n:
            raise PackError(f"PROB: offset 40: {n} looks do not make {len(payload)} bytes")
        if flags > (_AUTO_TRIAL | _AUTO_CONFIRM) or zero:
            raise PackError("PROB: offset 41 or 52: unknown flags or reserved bytes are set")
        rows = PROBATION_LOOK.iter_unpack(payload[PROBATION_HEAD.size :])
        return cls(
            parent,
            (a, b, c),
            (d, e, f),
            tuple(Look(*row) for row in rows),
            bool(flags & _AUTO_TRIAL),
            bool(flags & _AUTO_CONFIRM),
            factor,
            more,
            trial,
            alerts,
            saturated,
        )


def _cuts(name: str, cuts: Sequence[int]) -> Cuts:
    found = tuple(int(cut) for cut in cuts)
    if len(found) != 3 or not 0 <= found[0] < found[1] < found[2] <= _U32:
        raise PackError(
            f"PROB: {name} {found} must be three numbers of 32 bits, ascending strictly"
        )
    return found
