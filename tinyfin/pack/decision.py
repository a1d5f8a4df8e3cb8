# SPDX-License-Identifier: Apache-2.0
"""DECI: from score to action, cold start, control events, reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyfin.data.transactions import advice
from tinyfin.errors import PackError
from tinyfin.formats import (
    DECISION_ENTRY,
    DECISION_HEAD,
    MORE_THRESHOLD,
    NO_REASON_BELOW,
    REASON_AS_ABOVE,
)

__all__ = ["MAX_BELOW", "NEVER_Q32", "Decision", "mix"]

NEVER_Q32 = 2**32 - 1
MAX_BELOW = 254
"""Largest reason id below a reference where it is not the one above."""
_NEVER_DECLINE, _NEVER_ONLINE, _SHADOW, _WANTS_HOST = 1, 2, 4, 8


@dataclass(frozen=True)
class Decision:
    """Thresholds on score_q32 and, per feature, its reasons and reference input.

    ``reasons``: reason id per feature for an input above its reference, 0 for none; ``below``: for
    one below it, the same ids if not given. ``references``: the int8 input at the feature's usual
    value, per feature. ``control_share_q16``: share of control events times 65536.
    ``verify_q32``: from where GO_ONLINE is VERIFY, between the other two; None: nowhere.
    """

    reasons: tuple[int, ...]
    references: tuple[int, ...]
    go_online_q32: int = NEVER_Q32
    decline_q32: int = NEVER_Q32
    never_decline: bool = False
    never_online: bool = False
    shadow: bool = False
    wants_host: bool = False
    control_share_q16: int = 0
    cold_events: int = 32
    cold_s: int = 86400
    below: tuple[int, ...] = ()
    verify_q32: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", tuple(int(v) for v in self.reasons))
        object.__setattr__(self, "below", tuple(int(v) for v in self.below or self.reasons))
        object.__setattr__(self, "references", tuple(int(v) for v in self.references))
        if not len(self.reasons) == len(self.below) == len(self.references):
            raise PackError("DECI: as many references as reasons are needed, one per feature")
        if not 0 <= self.go_online_q32 <= self.decline_q32 <= NEVER_Q32:
            raise PackError(
                f"DECI: go_online_q32 {self.go_online_q32} must not exceed decline_q32 "
                f"{self.decline_q32}, both 0 to 2^32 - 1"
            )
        if self.verify_q32 is not None and not (
            self.go_online_q32 <= self.verify_q32 <= self.decline_q32
        ):
            raise PackError(
                f"DECI: verify_q32 {self.verify_q32} must lie between go_online_q32 "
                f"{self.go_online_q32} and decline_q32 {self.decline_q32}"
            )
        if not 0 <= self.control_share_q16 <= 65535:
            raise PackError(f"DECI: control share {self.control_share_q16} must be 0 to 65535")
        if not all(0 <= v <= 65535 for v in self.reasons):
            raise PackError("DECI: reason ids must be 0 to 65535")
        for above, below in zip(self.reasons, self.below, strict=True):
            if below not in (0, above) and not 0 < below <= MAX_BELOW:
                raise PackError(
                    f"DECI: reason {below} below the reference must be at most {MAX_BELOW}, or "
                    f"the reason above it, {above}"
                )
        if not all(-128 <= v <= 127 for v in self.references):
            raise PackError("DECI: references must be int8")

    @property
    def flags(self) -> int:
        """The flag word."""
        return (
            self.never_decline * _NEVER_DECLINE
            | self.never_online * _NEVER_ONLINE
            | self.shadow * _SHADOW
            | self.wants_host * _WANTS_HOST
        )

    def encode(self) -> bytes:
        """The payload."""
        head = DECISION_HEAD.pack(
            self.go_online_q32,
            self.decline_q32,
            self.flags,
            self.control_share_q16,
            self.cold_events,
            self.cold_s,
            len(self.reasons),
            self.verify_q32 is not None,
        )
        tail = b"" if self.verify_q32 is None else MORE_THRESHOLD.pack(self.verify_q32)
        rows = zip(self.reasons, self.references, self.below, strict=True)
        return (
            head
            + b"".join(
                DECISION_ENTRY.pack(
                    above, code, REASON_AS_ABOVE if below == above else below or NO_REASON_BELOW
                )
                for above, code, below in rows
            )
            + tail
        )

    @classmethod
    def decode(cls, payload: bytes) -> Decision:
        """Raises PackError naming offset and rule."""
        if len(payload) < DECISION_HEAD.size:
            raise PackError(f"DECI: {len(payload)} bytes; its head alone has {DECISION_HEAD.size}")
        online, decline, flags, control, events, cold_s, n, more = DECISION_HEAD.unpack_from(
            payload
        )
        if more > 1:
            raise PackError(f"DECI: offset 22: {more} more thresholds; this version knows one")
        end = DECISION_HEAD.size + DECISION_ENTRY.size * n
        if len(payload) != end + MORE_THRESHOLD.size * more:
            raise PackError(
                f"DECI: offset 20: {n} reasons and {more} more thresholds do not make "
                f"{len(payload)} bytes"
            )
        if flags > 15:
            raise PackError("DECI: offset 8: unknown flags are set")
        rows = list(DECISION_ENTRY.iter_unpack(payload[DECISION_HEAD.size : end]))
        below = tuple(
            {REASON_AS_ABOVE: above, NO_REASON_BELOW: 0}.get(low, low) for above, _, low in rows
        )
        return cls(
            tuple(r[0] for r in rows),
            tuple(r[1] for r in rows),
            online,
            decline,
            bool(flags & _NEVER_DECLINE),
            bool(flags & _NEVER_ONLINE),
            bool(flags & _SHADOW),
            bool(flags & _WANTS_HOST),
            control,
            events,
            cold_s,
            below,
            MORE_THRESHOLD.unpack_from(payload, end)[0] if more else None,
        )

    def evaluate(self, score_q32: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Actions by score, before SHADOW makes them all ACCEPT."""
        score = np.asarray(score_q32, np.int64)
        online = (score >= self.go_online_q32) & (not self.never_online)
        decline = (score >= self.decline_q32) & (not self.never_decline)
        return np.where(decline, 2, online.astype(np.uint8)).astype(np.uint8)

    def advice(self, score_q32: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Index into ADVICE by score: the action, and VERIFY as one of its own."""
        action = self.evaluate(score_q32)
        verify = np.zeros(len(action), bool)
        if self.verify_q32 is not None:
            verify = np.asarray(score_q32, np.int64) >= self.verify_q32
        return advice(action, verify)

    @property
    def alert_q32(self) -> int | None:
        """From where a verdict by score is not ACCEPT; None: nowhere."""
        off = (self.never_online, self.never_decline)
        both = (self.go_online_q32, self.decline_q32)
        return next((at for at, never in zip(both, off, strict=True) if not never), None)

    def control(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which events are control events."""
        return np.asarray(mix(ids) >> np.uint64(48) < self.control_share_q16)


def mix(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The 64-bit mix of event ids."""
    x = np.asarray(ids, np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(31))) * np.uint64(0x7FB5D329728EA185)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x81DADEF4BC2DD44D)
    return x ^ (x >> np.uint64(33))
