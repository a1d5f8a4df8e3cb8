# SPDX-License-Identifier: Apache-2.0
"""A faulty line: a link between host and terminal that does damage, all of it from one seed.

A spec is written ``flip=1e-4,drop=1/20000,reboot=1/5000,seed=7``. Rates are per byte, in either
direction, but for ``reboot``, which is per event sent. ``fault`` is a total that is shared out
among the kinds as :data:`SHARES` says; ``hostile`` means :data:`PRESETS` of that name, and may
be followed by what is to be different.
"""

from __future__ import annotations

import difflib
import math
import random
import time
from collections import deque
from dataclasses import dataclass, fields, replace

from tinyfin.errors import ConfigError
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.links import Deadline, Link, LinkAround, LinkLost
from tinyfin.wire.messages import Request

__all__ = ["PRESETS", "SHARES", "Chaos", "ChaosLink"]

SHARES = {
    "flip": 0.30,
    "drop": 0.20,
    "duplicate": 0.15,
    "insert": 0.15,
    "split": 0.10,
    "delay": 0.08,
    "disconnect": 0.02,
}
"""How ``fault=RATE`` is shared out."""

PRESETS = {"hostile": "fault=1/1000,reboot=1/5000", "noisy": "fault=1/10000"}

_KINDS = tuple(SHARES)
_MEMORY = 4096  # how far back a duplicate may reach
_SPLIT_S = 0.002


@dataclass(frozen=True)
class Chaos:
    """How much of what. Rates: faults per byte of a direction, reboots per event sent."""

    flip: float = 0.0
    """One bit changes."""
    drop: float = 0.0
    """1 to 8 bytes are lost."""
    duplicate: float = 0.0
    """The last 1 to 4,096 bytes come again: a byte, a piece, whole frames."""
    insert: float = 0.0
    """1 to 4 bytes of noise come in, delimiters among them."""
    split: float = 0.0
    """What follows comes in another read, 2 ms later."""
    delay: float = 0.0
    """What follows is held back for up to ``delay_ms``."""
    disconnect: float = 0.0
    """The link is lost, and what is on its way with it, both ways."""
    reboot: float = 0.0
    """The terminal restarts, at any byte of a frame."""
    delay_ms: float = 30.0
    seed: int = 1

    @staticmethod
    def parse(spec: str) -> Chaos:
        """Read a spec; ConfigError names the word that is wrong."""
        chaos = Chaos()
        for word in filter(None, (part.strip() for part in spec.split(","))):
            key, _, text = word.partition("=")
            if not text and key in PRESETS:
                chaos = replace(Chaos.parse(PRESETS[key]), seed=chaos.seed)
                continue
            names = [f.name for f in fields(Chaos)] + ["fault"]
            if key not in names or not text:
                near = difflib.get_close_matches(key, [*names, *PRESETS], n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
                raise ConfigError(
                    f"chaos: {word!r} is not known; {hint} (an example: "
                    "flip=1e-4,drop=1/20000,reboot=1/5000,seed=7, or hostile)"
                )
            value = _number(key, text)
            if key == "fault":
                shared = {kind: share * value for kind, share in SHARES.items()}
                chaos = replace(chaos, **shared)  # type: ignore[arg-type]
            elif key == "seed":
                chaos = replace(chaos, seed=int(value))
            else:
                chaos = replace(chaos, **{key: value})  # type: ignore[arg-type]
        if chaos.per_byte > 0.2:
            raise ConfigError(
                f"chaos: {chaos.per_byte:g} faults per byte leave no frame whole; use less than 0.2"
            )
        return chaos

    @property
    def per_byte(self) -> float:
        """Faults per byte of all kinds."""
        return float(sum(getattr(self, kind) for kind in _KINDS))

    def __str__(self) -> str:
        shown = [
            f"{f.name}={getattr(self, f.name):g}"
            for f in fields(self)
            if f.name not in ("seed", "delay_ms") and getattr(self, f.name)
        ]
        if self.delay and self.delay_ms != Chaos.delay_ms:
            shown.append(f"delay_ms={self.delay_ms:g}")
        return ",".join([*shown, f"seed={self.seed}"])


def _number(key: str, text: str) -> float:
    over, _, under = text.partition("/")
    try:
        value = float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    most = {"seed": 2.0**64, "delay_ms": 60_000.0}.get(key, 1.0)
    if not 0 <= value <= most:
        raise ConfigError(
            f"chaos: {key}={text} is no number between 0 and {most:g}; "
            "a rate is written 1e-4 or 1/10000"
        )
    return value


class _Way:
    """One direction: where the next fault comes, and what is held back."""

    def __init__(self, chaos: Chaos, name: str, counts: dict[str, int]) -> None:
        self._chaos = chaos
        self._counts = counts
        self._rng = random.Random(f"{chaos.seed}/{name}")
        self._weights = [getattr(chaos, kind) for kind in _KINDS]
        self._past = bytearray()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._gap = self._next_gap()
        self._to_drop = 0
        self._quiet = False

    def _next_gap(self) -> float:
        rate = self._chaos.per_byte
        # bytes to the next fault: geometric, so that every byte has the same chance
        return math.inf if not rate else math.floor(self._rng.expovariate(rate))

    def hush(self) -> None:
        """From here on, pass everything on."""
        self._quiet = True
        self._to_drop = 0

    def put(self, data: bytes) -> bool:
        """Take bytes in; True when the link is lost at one of them."""
        held_s = 0.0
        while data:
            dropped = min(self._to_drop, len(data))
            self._to_drop -= dropped
            data = data[dropped:]
            if self._quiet or self._gap >= len(data):
                self._gap -= len(data)
                self._pass(data, held_s)
                break
            at = int(self._gap)
            self._gap = self._next_gap()
            (kind,) = self._rng.choices(_KINDS, self._weights)
            self._counts[kind] = self._counts.get(kind, 0) + 1
            before, hit, data = data[:at], data[at], data[at + 1 :]
            self._pass(before, held_s)
            if kind == "disconnect":
                return True
            if kind == "drop":
                self._to_drop = self._rng.randrange(8)
                continue
            if kind == "flip":
                hit ^= 1 << self._rng.randrange(8)
            elif kind == "split":
                held_s += _SPLIT_S
            elif kind == "delay":
                held_s += self._rng.random() * self._chaos.delay_ms / 1000
            self._pass(bytes([hit]), held_s)
            if kind == "duplicate":
                again = int(2 ** self._rng.uniform(0, math.log2(_MEMORY)))
                self._pass(bytes(self._past[-again:]), held_s)
            elif kind == "insert":
                self._pass(self._rng.randbytes(self._rng.randint(1, 4)), held_s)
        return False

    def _pass(self, data: bytes, held_s: float) -> None:
        if data:
            self._past += data
            del self._past[:-_MEMORY]
            due = time.monotonic() + held_s if held_s else 0.0
            if self._queue:
                due = max(due, self._queue[-1][0])
            self._queue.append((due, data))

    def take(self) -> bytes:
        """What is due, up to the next that is held back."""
        out = []
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            out.append(self._queue.popleft()[1])
        return b"".join(out)

    def due_s(self) -> float:
        """Seconds until something is due; infinite when nothing is held back."""
        return max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else math.inf

    def clear(self) -> None:
        """What is held back is lost, and nothing of before comes again."""
        self._queue.clear()
        self._past.clear()


class ChaosLink(LinkAround):
    """A link with faults: everything that goes through it meets ``chaos``.

    ``counts`` says how many faults of each kind were done. Where they fall depends on the seed and
    on the bytes of each direction alone, not on time or on how they are read.
    """

    def __init__(self, link: Link, chaos: Chaos) -> None:
        super().__init__(link)
        self.chaos = chaos
        self.counts: dict[str, int] = {}
        self._up = _Way(chaos, "up", self.counts)
        self._down = _Way(chaos, "down", self.counts)
        self._rng = random.Random(f"{chaos.seed}/reboot")
        self._to_reboot = self._next_reboot()
        self._reboot_due = False
        self._lost = False

    def quiet(self) -> None:
        """From here on, pass everything on unharmed."""
        self._up.hush()
        self._down.hush()
        self._to_reboot, self._reboot_due = math.inf, False

    def count(self, events: int) -> None:
        """Learn that so many events are about to be sent: reboots come by these."""
        self._to_reboot -= events
        if self._to_reboot < 0:
            self._reboot_due = True
            self._to_reboot = self._next_reboot()

    def _next_reboot(self) -> float:
        rate = self.chaos.reboot
        return self._rng.expovariate(rate) if rate else math.inf

    def read(self, timeout_s: float) -> bytes:
        deadline = Deadline(timeout_s)
        while True:
            self._check()
            self._pump()
            data = self._down.take()
            if data:
                return data
            wait = min(deadline.left(), self._up.due_s(), self._down.due_s())
            came = self.inner.read(wait)
            if came and self._down.put(came):
                self._disconnect()
            elif not came and deadline.passed:
                return self._down.take()

    def write(self, data: bytes) -> None:
        self._check()
        if self._reboot_due:
            self._reboot_due = False
            self.counts["reboot"] = self.counts.get("reboot", 0) + 1
            self._up.put(data[: self._rng.randrange(len(data) + 1)])
            self._pump()
            self._restart()
            return
        lost = self._up.put(data)
        self._pump()
        if lost:
            self._disconnect()

    def _pump(self) -> None:
        ready = self._up.take()
        if ready:
            self.inner.write(ready)

    def _restart(self) -> None:
        self._up.clear()
        self._down.clear()
        if self.inner.can_reset:
            self.inner.reset()
        else:
            self.inner.write(b"\0" + encode_frame(Request.REBOOT, 0, b""))

    def _disconnect(self) -> None:
        self._up.clear()
        self._down.clear()
        self._lost = True
        self._check()

    def _check(self) -> None:
        if self._lost:
            raise LinkLost(f"{self.name}: the link was cut (chaos: disconnect)")

    def reopen(self, timeout_s: float) -> None:
        self._up.clear()
        self._down.clear()
        self.inner.reopen(timeout_s)
        self._lost = False

    def reset(self) -> None:
        self._up.clear()
        self._down.clear()
        self.inner.reset()
