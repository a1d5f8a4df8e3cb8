# SPDX-License-Identifier: Apache-2.0
"""What a run that was trained, however badly, would cost on a target: for ``train --search``."""

from __future__ import annotations

from collections.abc import Callable

from tinyfin.hil.measure.budget import budget
from tinyfin.quantize.quantize import quantize
from tinyfin.targets import catalogue
from tinyfin.training.run import RunFolder
from tinyfin.training.search import Cost

__all__ = ["measured_on"]

_EVENTS = 400


def measured_on(
    target: str, *, count: bool, note: Callable[[str], object] = lambda _: None
) -> Callable[[RunFolder], Cost]:
    """Quantizes a run and builds it for ``target``; with ``count`` replays simulated events too.

    Without ``count`` the stack is the bound of the compiler's call graph, and no instructions are
    told.

    Raises TargetError at once for a target that is not in the catalogue.
    """
    catalogue.get(target)

    def cost(run: RunFolder) -> Cost:
        quantize(run)
        found = budget(run.path, target, events=_EVENTS, measure=count, note=note)
        counted = found.instructions
        return Cost(found.image.flash_bytes, found.ram_bytes, counted.bound if counted else None)

    return cost
