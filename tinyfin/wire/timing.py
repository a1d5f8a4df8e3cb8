# SPDX-License-Identifier: Apache-2.0
"""How long to wait for an answer before asking again."""

from __future__ import annotations

__all__ = ["AnswerTime"]

_GAIN, _DEVIATION_GAIN, _DEVIATIONS = 1 / 8, 1 / 4, 4
_FIRST_S = 1.0
_SHORTEST_S = 0.02
_LONGEST_FACTOR = 4  # a serial line is nobody else's: patience makes no room on it


class AnswerTime:
    """The time between a frame and its answer, smoothed as RFC 6298 does for TCP.

    Only answers to frames that were sent once are sampled (Karn's rule). On a line that has never
    lost anything the wait is the longest: there, an answer that is late means a busy machine. All
    times are seconds.
    """

    def __init__(self, longest_s: float) -> None:
        self.longest_s = longest_s
        self.smoothed_s = 0.0
        """0 before the first answer."""
        self.troubled = False
        """Whether this line has been seen to damage or lose anything."""
        self._deviation_s = 0.0
        self._factor = 1

    def sample(self, seconds: float) -> None:
        """An answer came after so long."""
        self._factor = 1
        if not self.smoothed_s:
            self.smoothed_s, self._deviation_s = seconds, seconds / 2
            return
        error = seconds - self.smoothed_s
        self._deviation_s += _DEVIATION_GAIN * (abs(error) - self._deviation_s)
        self.smoothed_s += _GAIN * error

    def missed(self) -> None:
        """The wait ended without an answer: the next one is twice as long, until one comes."""
        self.troubled = True
        self._factor = min(_LONGEST_FACTOR, 2 * self._factor)

    @property
    def wait_s(self) -> float:
        """How long to wait now."""
        if not self.troubled:
            return self.longest_s
        usual = self.smoothed_s + _DEVIATIONS * self._deviation_s if self.smoothed_s else _FIRST_S
        return min(self.longest_s, max(_SHORTEST_S, usual) * self._factor)
