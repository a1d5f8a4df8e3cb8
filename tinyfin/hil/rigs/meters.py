# SPDX-License-Identifier: Apache-2.0
"""Meters between a board and its supply: what it draws while something is done.

A meter is opened before the board is flashed, because the board gets its power through it. Nothing
here has been run on hardware: the tests have programs that answer as the meters' manuals say.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tinyfin.errors import BenchError, TargetError
from tinyfin.hil.rigs.rigfile import MeterSpec
from tinyfin.wire.links import Deadline, Link

__all__ = ["Draw", "Meter", "Ppk2Meter", "ScpiMeter", "open_meter"]

_ANSWER_S = 2.0
_JOIN_S = 5.0


@dataclass(frozen=True)
class Draw:
    """What was drawn between ``start`` and ``stop``."""

    seconds: float
    joules: float

    @property
    def watts(self) -> float:
        """The mean."""
        return self.joules / self.seconds


class Meter(Protocol):
    """Something that measures what a board draws."""

    volts: float

    def start(self) -> None:
        """Begin to measure."""

    def stop(self) -> Draw:
        """End it. BenchError when the meter has not measured all the time."""

    def close(self) -> None:
        """Let go of it; the board may lose its power. May be called twice."""


def open_meter(spec: MeterSpec, locate: Callable[[], str], name: str) -> Meter:
    """The meter of a rig file, ready; the board has power. BenchError when it does not answer."""
    from tinyfin.wire.serial_link import open_link

    link = open_link(locate())
    try:
        if spec.kind == "ppk2":
            return Ppk2Meter(link, spec.volts, supplies=spec.supplies, name=name)
        return ScpiMeter(link, spec.volts, query=spec.query, name=name)
    except BaseException:
        link.close()
        raise


class _Sampling:
    """Reads a meter on a thread of its own between ``start`` and ``stop``."""

    def __init__(self, link: Link, volts: float, name: str) -> None:
        self.volts = volts
        self._link, self._name = link, name
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: Exception | None = None

    def start(self) -> None:
        assert self._thread is None
        self._ended.clear()
        self._failed = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._begin()
        self._thread.start()

    def stop(self) -> Draw:
        assert self._thread is not None
        self._ended.set()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            raise self._wrong(f"it does not end its measurement within {_JOIN_S:g} s")
        self._thread = None
        if self._failed is not None:
            raise self._wrong(str(self._failed)) from self._failed
        return self._drawn()

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            self._thread = None
        self._link.close()

    def _wrong(self, what: str) -> BenchError:
        return BenchError(
            f"{self._name}: the meter at {self._link.name}: {what}; check its cable, and "
            f"targets.{self._name}.meter"
        )

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._sample()
            self._end()
        except (TargetError, ValueError) as error:
            self._failed = error

    def _begin(self) -> None:
        """Before the first sample."""

    def _end(self) -> None:
        """After the last."""

    def _sample(self) -> None:
        raise NotImplementedError

    def _drawn(self) -> Draw:
        raise NotImplementedError


class ScpiMeter(_Sampling):
    """A multimeter, source meter or analyser that answers a query of its current in amperes.

    It is asked again and again; between two answers the current is taken for a straight line.
    """

    def __init__(self, link: Link, volts: float, *, query: str, name: str = "target") -> None:
        super().__init__(link, volts, name)
        self._query = query.encode() + b"\n"
        self._seen: list[tuple[float, float]] = []
        self._rest = b""
        try:
            self._ask()  # answers, and with a number
        except (TargetError, ValueError) as error:
            raise self._wrong(str(error)) from error

    def _ask(self) -> float:
        self._link.write(self._query)
        end = Deadline(_ANSWER_S)
        while b"\n" not in self._rest:
            if end.passed:
                raise ValueError(
                    f"no answer to {self._query.decode().strip()} within {_ANSWER_S:g} s"
                )
            self._rest += self._link.read(end.left())
        line, _, self._rest = self._rest.partition(b"\n")
        return float(line)

    def _begin(self) -> None:
        self._seen = []

    def _sample(self) -> None:
        before = time.monotonic()
        amperes = self._ask()
        self._seen.append(((before + time.monotonic()) / 2, amperes))

    def _end(self) -> None:
        self._sample()

    def _drawn(self) -> Draw:
        if len(self._seen) < 2:
            raise self._wrong("it gave fewer than two readings")
        at, amperes = np.array(self._seen).T
        charge = float(np.sum(np.diff(at) * (amperes[1:] + amperes[:-1]) / 2))
        return Draw(float(at[-1] - at[0]), charge * self.volts)


_START, _STOP, _RUN, _REGULATOR, _MODE, _METADATA = 0x06, 0x07, 0x0C, 0x0D, 0x11, 0x19
_AMPERE_METER, _SOURCE_METER = 1, 2
_RANGES = 5
_RATE_HZ = 100_000
_COUNTER = 64
_VOLTS_PER_STEP = 1.8 / 163_840


class Ppk2Meter(_Sampling):
    """Nordic's Power Profiler Kit II: 100,000 samples a second over a serial port.

    A sample has four bytes: 14 bits of the converter, 3 of the range, 6 of a counter. What is lost
    is known by the counter, and filled with the mean.
    """

    def __init__(
        self, link: Link, volts: float, *, supplies: bool = False, name: str = "target"
    ) -> None:
        super().__init__(link, volts, name)
        self._rest = b""
        self._amperes = 0.0
        self._samples = self._lost = 0
        self._next: int | None = None
        try:
            self._scale = _calibration(self._metadata())
            millivolts = round(volts * 1000)
            link.write(bytes([_MODE, _SOURCE_METER if supplies else _AMPERE_METER]))
            link.write(bytes([_REGULATOR, millivolts >> 8, millivolts & 0xFF]))
            link.write(bytes([_RUN, 1]))
        except (TargetError, ValueError) as error:
            raise self._wrong(str(error)) from error

    def _metadata(self) -> str:
        self._link.write(bytes([_STOP]))
        while self._link.read(0.05):  # what another program has left
            pass
        self._link.write(bytes([_METADATA]))
        said, end = b"", Deadline(_ANSWER_S)
        while b"END" not in said:
            if end.passed:
                raise ValueError("it does not say its calibration; is it a PPK2?")
            said += self._link.read(end.left())
        return said.decode("ascii", "replace")

    def _begin(self) -> None:
        self._rest, self._next = b"", None
        self._amperes, self._samples, self._lost = 0.0, 0, 0
        self._link.write(bytes([_START]))

    def _sample(self) -> None:
        self._take(self._link.read(0.05))

    def _end(self) -> None:
        self._link.write(bytes([_STOP]))
        while data := self._link.read(0.1):
            self._take(data)

    def _take(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) // 4 * 4
        self._rest = data[whole:]
        if not whole:
            return
        words = np.frombuffer(data[:whole], "<u4").astype(np.int64)
        counters = words >> 18 & _COUNTER - 1
        first = counters[0] if self._next is None else self._next
        ahead = np.diff(counters, prepend=(first - 1) % _COUNTER) - 1 & _COUNTER - 1
        self._next = int(counters[-1] + 1) % _COUNTER
        self._lost += int(ahead.sum())
        self._samples += len(words)
        self._amperes += float(self._current(words).sum())

    def _current(self, words: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        scale = self._scale
        at = np.minimum(words >> 14 & 7, _RANGES - 1)
        plain = ((words & 0x3FFF) * 4 - scale["O"][at]) * (_VOLTS_PER_STEP / scale["R"][at])
        curve = plain * (scale["GS"][at] * plain + scale["GI"][at])
        current: npt.NDArray[np.float64] = scale["UG"][at] * (
            curve + scale["S"][at] * self.volts + scale["I"][at]
        )
        return current

    def _drawn(self) -> Draw:
        if not self._samples:
            raise self._wrong("it gave no samples")
        if self._lost > self._samples // 10:
            raise self._wrong(f"{self._lost} of {self._samples + self._lost} samples were lost")
        seconds = (self._samples + self._lost) / _RATE_HZ
        return Draw(seconds, self._amperes / self._samples * self.volts * seconds)

    def close(self) -> None:
        with contextlib.suppress(TargetError):
            self._link.write(bytes([_STOP]))
        super().close()


def _calibration(said: str) -> dict[str, npt.NDArray[np.float64]]:
    """The meter's own constants: for each of its ranges a resistor R, offsets O, S and I, and the
    gains GS, GI and UG."""
    given: dict[str, float] = {}
    for line in said.splitlines():
        key, found, value = line.partition(": ")
        if found:
            with contextlib.suppress(ValueError):
                given[key.strip()] = float(value)
    names = ("R", "O", "S", "I", "GS", "GI", "UG")
    missing = [f"{name}0" for name in names if f"{name}0" not in given]
    if missing:
        raise ValueError(f"its calibration lacks {', '.join(missing)}")
    table = {
        name: np.array([given.get(f"{name}{i}", 0.0) for i in range(_RANGES)]) for name in names
    }
    if (table["R"] <= 0).any():
        raise ValueError("a resistor of its calibration is 0; calibrate it with Nordic's program")
    return table
