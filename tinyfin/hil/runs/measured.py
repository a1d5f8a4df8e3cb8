# SPDX-License-Identifier: Apache-2.0
"""What a suite measures of a board while it compares its answers: time and energy, and their gates.

A gate that is not met is a mismatch, as every gate of tinyfin: the firmware is not what was asked
for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.errors import MismatchError, ProtocolError, TargetError
from tinyfin.hil.replay.facts import Energy, Latency
from tinyfin.hil.rigs.meters import Draw, Meter
from tinyfin.hil.runs.suites import EnergyGate, LatencyGate
from tinyfin.wire.client import Client
from tinyfin.wire.links import Deadline

__all__ = ["asleep", "drawn", "energy", "latency"]

Ticks = npt.NDArray[np.int64]


def latency(gate: LatencyGate, ticks: Sequence[Ticks | None], tick_hz: int, name: str) -> Latency:
    """The time of verdicts, from the ticks of each. Raises MismatchError when a gate is not met,
    ProtocolError when nothing was timed."""
    seen = [one for one in ticks if one is not None]
    together = np.concatenate(seen) if seen else np.zeros(0, np.int64)
    if not together.any():
        raise ProtocolError(
            f"{name}: its tick counter stands still, so nothing was timed; implement "
            "tfin_port_ticks, or leave the suite out for this target"
        )
    found = Latency.of(together, tick_hz)
    _hold(name, "latency.p99_us", found.p99_us, gate.p99_us, "µs")
    _hold(name, "latency.max_us", found.max_us, gate.max_us, "µs")
    return found


def asleep(gate: EnergyGate, meter: Meter, client: Client, name: str) -> Draw:
    """What the terminal draws when nothing is asked of it; its state is the same afterwards."""
    before = client.checkpoint()
    with drawn(meter) as found:
        end = Deadline(gate.idle_s)
        while not end.passed:
            time.sleep(min(1.0, end.left()))
    if client.checkpoint() != before:
        raise MismatchError(
            f"{name}: its state changed while nothing was asked of it; does its RAM keep its "
            "contents asleep?"
        )
    return found[0]


@contextlib.contextmanager
def drawn(meter: Meter) -> Iterator[list[Draw]]:
    """Measure what is done within the context; afterwards the list has what was drawn."""
    found: list[Draw] = []
    meter.start()
    try:
        yield found
    except BaseException:  # which is what counts, whatever the meter says
        with contextlib.suppress(TargetError):
            meter.stop()
        raise
    found.append(meter.stop())


def energy(
    gate: EnergyGate, asleep: Draw, awake: Draw, volts: float, verdicts: int, name: str
) -> Energy:
    """The energy of a verdict, and the current asleep. Raises MismatchError when a gate is not
    met."""
    n = max(1, verdicts)
    found = Energy(
        volts=volts,
        sleep_ua=round(asleep.watts / volts * 1e6, 3),
        sleep_s=round(asleep.seconds, 3),
        replay_s=round(awake.seconds, 3),
        uj_per_verdict=round((awake.joules - asleep.watts * awake.seconds) / n * 1e6, 3),
        uj_per_verdict_in_all=round(awake.joules / n * 1e6, 3),
    )
    _hold(name, "energy.uj_per_verdict", found.uj_per_verdict, gate.uj_per_verdict, "µJ")
    _hold(name, "energy.sleep_ua", found.sleep_ua, gate.sleep_ua, "µA")
    return found


def _hold(name: str, key: str, value: float, most: float | None, unit: str) -> None:
    if most is not None and value > most:
        raise MismatchError(
            f"{name}: {key}: {value:,.3f} {unit} were measured, and the suite allows {most:g} "
            f"{unit}; make the firmware meet it, or change the suite"
        )
