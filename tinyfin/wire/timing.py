# SPDX-License-Identifier: Apache-2.0
"""How long to wait for an answer before asking again."""

from __future__ import annotations

__all__ = ["AnswerTime"]

_GAIN, _DEVIATION_GAIN, _DEVIATIONS = 1 / 8, 1 / 4, 4
_FIRST_S = 1.0
_SHORTEST_S = 0.02
_HEAD_BYTES = 128  # what a frame costs in addition to its bytes, as if it were bytes
_LONGEST_FACTOR = 4  # a serial line has no other user: patience frees nothing on it


class AnswerTime:
    """The time between a frame and its answer, smoothed as RFC 6298 does for TCP.

    On a serial line it is the bytes that are under way that take time, so it is kept per byte:
    what short frames teach is then right, or too long, for long ones. Only answers to frames that
    were sent once are sampled (Karn's rule). On a line that has never lost anything the wait is the
    longest: there, an answer that is late means a busy machine. All times are seconds.
    """

    def __init__(self, longest_s: float) -> None:
        self.longest_s = longest_s
        self.troubled = False
        """Whether this line has been seen to damage or lose anything."""
        self._per_byte_s = 0.0
        self._deviation_s = 0.0
        self._factor = 1

    def sample(self, seconds: float, under_way: int) -> None:
        """An answer came after so long; so many bytes, its frame's included, were under way."""
        self._factor = 1
        per_byte_s = seconds / (under_way + _HEAD_BYTES)
        if not self._per_byte_s:
            self._per_byte_s, self._deviation_s = per_byte_s, per_byte_s / 2
            return
        error = per_byte_s - self._per_byte_s
        self._deviation_s += _DEVIATION_GAIN * (abs(error) - self._deviation_s)
        self._per_byte_s += _GAIN * error

    def missed(self) -> None:
        """The wait ended without an answer: the next one is twice as long, until one comes."""
        self.troubled = True
        self._factor = min(_LONGEST_FACTOR, 2 * self._factor)

    def usual_s(self, under_way: int) -> float:
        """How long an answer takes when so many bytes are under way; 0 before the first one."""
        return self._per_byte_s * (under_way + _HEAD_BYTES)

    def wait_s(self, under_way: int) -> float:
        """How long to wait for it."""
        if not self.troubled:
            return self.longest_s
        per_byte_s = self._per_byte_s + _DEVIATIONS * self._deviation_s
        usual_s = per_byte_s * (under_way + _HEAD_BYTES) if self._per_byte_s else _FIRST_S
        return min(self.longest_s, max(_SHORTEST_S, usual_s) * self._factor)
