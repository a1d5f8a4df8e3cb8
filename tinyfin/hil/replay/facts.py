# SPDX-License-Identifier: Apache-2.0
"""What a replay found, as JSON says it. What is None was not reported, and proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tinyfin.documents import Count, Facts, Quantity, Reported

__all__ = ["Difference", "Energy", "Hostile", "Instructions", "Latency", "ReplayFacts"]


class Difference(Facts):
    """The first difference. ``row`` counts the input's rows from 0; ``field`` says what differs."""

    terminal: str | None = None
    row: Count = None
    id: Count = None
    field: str | None = None
    expected: object = None
    got: object = None
    note: str = ""


class Instructions(Facts):
    """Instructions of a scored transaction."""

    median: int
    p99_9: int
    max: int

    @classmethod
    def of(cls, counts: npt.NDArray[np.int64]) -> Self:
        """Those of one count per transaction."""
        high = int(np.percentile(counts, 99.9, method="higher"))
        return cls(median=int(np.median(counts)), p99_9=high, max=int(counts.max()))


class Hostile(Facts):
    """Hostile frames that were sent, by kind, and how many changed the terminal."""

    frames: int
    kinds: dict[str, int]
    changed: int = 0


class Latency(Facts):
    """How long verdicts took by the terminal's own counter, in microseconds."""

    verdicts: int
    tick_hz: int
    median_us: float
    p99_us: float
    max_us: float

    @classmethod
    def of(cls, ticks: npt.NDArray[np.int64], tick_hz: int) -> Self:
        """Those of one count per verdict."""
        us = ticks * (1e6 / tick_hz)
        return cls(
            verdicts=len(us),
            tick_hz=tick_hz,
            median_us=round(float(np.median(us)), 3),
            p99_us=round(float(np.percentile(us, 99, method="higher")), 3),
            max_us=round(float(us.max()), 3),
        )


class Energy(Facts):
    """What the board drew, by its meter."""

    volts: float
    sleep_ua: float
    """While nothing was asked of it, with its state kept."""
    sleep_s: float
    replay_s: float
    uj_per_verdict: float
    """Without what it would have drawn asleep in the same time."""
    uj_per_verdict_in_all: float


class ReplayFacts(Reported):
    """The result of ``replay --json``; :class:`tinyfin.hil.replay.ReplayResult` explains it. The
    cases of a rig have the same facts: flashing, booting and the self-test a few of them."""

    target: str = "unknown"
    pack: str | None = None
    device_pack: str | None = None
    build_id: str | None = None
    boot_nonce: str | None = None
    emulator: str | None = None
    """What runs it, where the catalogue does not know the target by that name."""
    error: str | None = None
    """Why there is no result, or half of one."""
    transactions: Count = None
    verdicts: Count = None
    terminals: Count = None
    events: Count = None
    checkpoints: Count = None
    compared: list[str] | None = None
    mismatches: Count = None
    first_mismatch: Difference | None = None
    lost: Count = None
    doubled: Count = None
    retransmitted: Count = None
    seconds: Quantity = None
    sending_s: Quantity = None
    transactions_per_second: Quantity = None
    bytes_up_per_transaction: Quantity = None
    bytes_down_per_transaction: Quantity = None
    state_bytes: Count = None
    baud: Count = None
    line_use: Quantity = None
    state_digest: str | None = None
    chaos: str | None = None
    faults: Mapping[str, Count] = Field(default_factory=dict)
    repaired: Mapping[str, Count] = Field(default_factory=dict)
    unexplained_reboots: Count = None
    options: dict[str, object] = Field(default_factory=dict)
    flash_bytes: Count = None
    ram_bytes: Count = None
    device_stats: Mapping[str, Count] = Field(default_factory=dict)
    tables: Mapping[str, Count] = Field(default_factory=dict)
    drift: str | None = None
    """Of what was replayed from what the pack's DRFT says of its release, in words."""
    instructions: Instructions | None = None
    rounds: Count = None
    """Of a suite of the rig: how many replays these are the sums of."""
    events_per_second: Quantity = None
    receive_overruns: Count = None
    hostile: Hostile | None = None
    latency: Latency | None = None
    energy: Energy | None = None
    how: str | None = None
    """How it was flashed."""
    pack_id: str | None = None
    capabilities: list[str] = Field(default_factory=list)
    left_out: list[str] = Field(default_factory=list)
    """What the self-test could not ask."""
    network_vectors: Count = None
    stack_bytes: Count = None
    stack_free_bytes: Count = None
    stats: Mapping[str, Count] = Field(default_factory=dict)

    @property
    def its_pack(self) -> str | None:
        """The pack that the target runs, as far as that was reported."""
        return self.device_pack if "device_pack" in self.model_fields_set else self.pack
