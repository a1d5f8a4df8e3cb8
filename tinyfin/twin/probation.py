# SPDX-License-Identifier: Apache-2.0
"""A pack in the shadow of another one, or on trial, as the terminal counts it."""

from __future__ import annotations

from collections.abc import Sequence

from tinyfin.errors import InputError, PackError
from tinyfin.formats import PROBATION_RESULTS
from tinyfin.twin import Twin, Verdict, error_name

__all__ = ["Probation"]


class Probation:
    """The probation of a pack at one terminal of ``twin``, by its own bounds (section PROB).

    With ``candidate`` that pack scores in the shadow of the twin's; without, the twin's pack is on
    trial. A candidate with another feature program is a Twin, whose terminal of the same number has
    its state: give it every event, outcome and notice, too. ``keys`` are trusted like the
    development key. Raises PackError with the engine's own words: no bounds, another feature
    program, another parent.
    """

    def __init__(
        self,
        twin: Twin,
        terminal: int,
        candidate: bytes | Twin | None = None,
        *,
        keys: Sequence[bytes] = (),
    ) -> None:
        self._engine, self._terminal = twin._engine, terminal
        self._own = candidate._engine if isinstance(candidate, Twin) else None
        if candidate is None:
            rc = self._engine.begin_trial(terminal)
        elif isinstance(candidate, Twin):
            rc = self._engine.begin_apart(terminal, candidate._engine)
        else:
            rc = self._engine.begin_shadow(terminal, bytes(candidate), True, b"".join(keys))
        if rc != 0:
            raise PackError(f"the engine begins no probation: {error_name(rc)}")

    def count(self, verdict: Verdict) -> bool:
        """Count an event, right after :meth:`Twin.score` gave this verdict for it. True when it
        brought the result. The twin's network outputs are then those of the candidate."""
        of = (verdict.score_q32, verdict.raw, verdict.action, verdict.flags)
        return self._engine.count_probation(self._terminal, *of) == 1

    def count_apart(self, verdict: Verdict, shadows: Verdict) -> bool:
        """The same for a candidate with a state of its own, whose verdict is ``shadows``. An event
        at which it is COLD is not counted."""
        if self._own is None:
            raise InputError("this candidate has no state of its own: count(verdict) counts it")
        of = (shadows.score_q32, shadows.raw, shadows.flags)
        both = (verdict.score_q32, verdict.action, self._own, *of)
        return self._engine.count_apart(self._terminal, *both) == 1

    @property
    def result(self) -> str:
        """One of :data:`tinyfin.formats.PROBATION_RESULTS`."""
        return PROBATION_RESULTS[self._engine.probation_result(self._terminal)]

    @property
    def advances(self) -> bool:
        """Whether it has passed and needs no command for what comes next."""
        return self._engine.probation_advances(self._terminal)

    def image(self) -> bytes:
        """What the terminal keeps of it: docs/formats/probation.md."""
        return bytes(self._engine.export_probation(self._terminal))

    def take(self, image: bytes) -> None:
        """Go on from an image. Raises InputError when it is refused; then nothing changes."""
        rc = self._engine.import_probation(self._terminal, bytes(image))
        if rc != 0:
            raise InputError(f"image of the probation refused: {error_name(rc)}")
