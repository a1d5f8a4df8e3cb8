# SPDX-License-Identifier: Apache-2.0
"""From features to a verdict: maps, read-out, calibration, decision, reasons (pack.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinyfin.oracle.numbers import clamp

__all__ = [
    "Answer",
    "Model",
    "Network",
    "OracleDecision",
    "calibrate",
    "map_feature",
    "mix",
    "read_out",
]

ACCEPT = 0
GO_ONLINE = 1
DECLINE = 2

Network = Callable[[Sequence[int]], tuple[Sequence[int], Sequence[int]]]
"""From int8 inputs to int8 outputs and the i32 accumulators of the last FULLY_CONNECTED, or the sum
of a DENSITY's or FOREST's terms."""


@dataclass(frozen=True)
class Answer:
    """What a model makes of features."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    raw: int
    score_q32: int
    action: int
    verify: bool
    """With action GO_ONLINE."""
    reasons: tuple[int, ...]


@dataclass(frozen=True)
class OracleDecision:
    """The payload of DECI, read."""

    go_online_q32: int
    decline_q32: int
    flags: int
    control_share: int
    cold_events: int
    cold_s: int
    verify_q32: int | None
    """From where on GO_ONLINE is VERIFY; None: nowhere."""
    reasons: tuple[tuple[int, int, int], ...]
    """Per feature: reason id above the reference code, that code, reason id below it."""

    @property
    def shadow(self) -> bool:
        """The pack only watches."""
        return bool(self.flags & 4)

    @property
    def wants_host(self) -> bool:
        """The model reads fields that a host sends."""
        return bool(self.flags & 8)

    def is_control(self, id: int) -> bool:
        """The event is a control event."""
        return mix(id) // 2**48 < self.control_share

    def action(self, score_q32: int) -> int:
        """The action by score."""
        if score_q32 >= self.decline_q32 and not self.flags & 1:
            return DECLINE
        if score_q32 >= self.go_online_q32 and not self.flags & 2:
            return GO_ONLINE
        return ACCEPT


def read_decision(payload: bytes) -> OracleDecision:
    """The decision in a payload of DECI."""
    go_online, decline, flags, share, cold_events, cold_s, n, more = struct.unpack_from(
        "<IIHHIIHH", payload
    )
    verify = struct.unpack_from("<I", payload, 24 + 4 * n)[0] if more else None
    reasons = []
    for i in range(n):
        above, code, low = struct.unpack_from("<HbB", payload, 24 + 4 * i)
        reasons.append((above, code, above if low == 0 else 0 if low == 255 else low))
    return OracleDecision(
        go_online, decline, flags, share, cold_events, cold_s, verify, tuple(reasons)
    )


def mix(x: int) -> int:
    """The 64-bit mixer of pack.md."""
    x ^= x >> 31
    x = x * 0x7FB5D329728EA185 % 2**64
    x ^= x >> 27
    x = x * 0x81DADEF4BC2DD44D % 2**64
    return x ^ (x >> 33)


def map_feature(maps: bytes, index: int, feature: int) -> int:
    """Feature ``index`` as an int8 input."""
    offset, count = struct.unpack_from("<IH", maps, 8 + 8 * index)
    knots = [struct.unpack_from("<hbBi", maps, offset + 8 * i) for i in range(count)]
    if feature <= knots[0][0]:
        return int(knots[0][1])
    if feature >= knots[-1][0]:
        return int(knots[-1][1])
    x, y, _, slope_q16 = [knot for knot in knots if knot[0] <= feature][-1]
    return int(clamp(y + ((feature - x) * slope_q16 + 32768) // 65536, -128, 127))


def read_out(
    readout: bytes, inputs: Sequence[int], outputs: Sequence[int], accumulators: Sequence[int]
) -> int:
    """The raw score that READ takes from a network."""
    kind, shift, index, m_in, m_out = struct.unpack_from("<BBHii", readout)
    if kind == 1:
        return int(outputs[index] - m_out)
    if kind == 2:
        return int(accumulators[index] // 2**shift)
    if kind == 4:
        return int(sum((y - m_out) ** 2 for y in outputs) // 2**shift)
    zero_in, zero_out = _i8(m_in), _i8(m_out)
    errors = [
        ((x - zero_in) * (m_in // 256) - (y - zero_out) * (m_out // 256)) // 256
        for x, y in zip(inputs, outputs, strict=True)
    ]
    return int(min(sum(e * e for e in errors) // 2**shift, 2**31 - 1))


def _i8(x: int) -> int:
    low = x % 256
    return low - 256 if low >= 128 else low


def calibrate(table: bytes, raw: int) -> int:
    """The calibrated score of a raw one, times 2^32."""
    (count,) = struct.unpack_from("<H", table)
    knots = [struct.unpack_from("<iIQ", table, 8 + 16 * i) for i in range(count)]
    if raw <= knots[0][0]:
        return int(knots[0][1])
    if raw >= knots[-1][0]:
        return int(knots[-1][1])
    i = max(j for j, knot in enumerate(knots) if knot[0] <= raw)
    start, p_q32, slope_q16 = knots[i]
    rise = (raw - start) * slope_q16 // 65536
    return int(p_q32 + min(rise, knots[i + 1][1] - p_q32))


class Model:
    """MAPS, READ, CALI and DECI payloads around a network."""

    def __init__(
        self, maps: bytes, readout: bytes, calibration: bytes, decision: bytes, network: Network
    ) -> None:
        self.maps = maps
        self.readout = readout
        self.calibration = calibration
        self.decision = read_decision(decision)
        self.network = network

    def raw(self, inputs: Sequence[int]) -> int:
        """The raw score of int8 inputs."""
        return read_out(self.readout, inputs, *self.network(inputs))

    def answer(self, features: Sequence[int]) -> Answer:
        """Everything that follows from features alone."""
        inputs = [map_feature(self.maps, i, feature) for i, feature in enumerate(features)]
        outputs, accumulators = self.network(inputs)
        raw = read_out(self.readout, inputs, outputs, accumulators)
        score_q32 = calibrate(self.calibration, raw)
        action = self.decision.action(score_q32)
        reasons = self.reasons(inputs, raw) if action != ACCEPT else ()
        if self.decision.shadow:
            action = ACCEPT
        least = self.decision.verify_q32
        verify = action == GO_ONLINE and least is not None and score_q32 >= least
        return Answer(tuple(inputs), tuple(outputs), raw, score_q32, action, verify, reasons)

    def contributions(self, inputs: Sequence[int], raw: int) -> list[int]:
        """Per feature: raw minus raw with that input at its reference code."""
        out = []
        for i, (_, reference, _) in enumerate(self.decision.reasons):
            changed = [*inputs]
            changed[i] = reference
            out.append(raw - self.raw(changed))
        return out

    def reasons(self, inputs: Sequence[int], raw: int) -> tuple[int, ...]:
        """Ids of the three reasons with the largest positive contributions, strongest first; of
        several features with one reason the strongest counts."""
        found = []
        for i, contribution in enumerate(self.contributions(inputs, raw)):
            above, reference, below = self.decision.reasons[i]
            number = above if inputs[i] > reference else below
            if contribution > 0 and number != 0:
                found.append((-contribution, i, number))
        distinct = dict.fromkeys(number for _, _, number in sorted(found))
        return tuple(distinct)[:3]
