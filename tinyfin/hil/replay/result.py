# SPDX-License-Identifier: Apache-2.0
"""What a replay found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from tinyfin.errors import FailureKind, MismatchError
from tinyfin.hil.links.throttle import bytes_per_second
from tinyfin.hil.replay.facts import Difference, Instructions, ReplayFacts
from tinyfin.hil.replay.localize import Mismatch

__all__ = ["Repaired", "ReplayResult"]

TABLES = ("pending_overflows", "label_overflows", "evictions", "notice_duplicates")


@dataclass
class Repaired:
    """What went wrong on the line and was put right, so that no answer was touched by it."""

    frames_resent: int = 0
    """Frames sent again by the host."""
    complaints: int = 0
    """Damaged or missing frames that the terminal complained of."""
    timeouts: int = 0
    """Waits that ended without an answer."""
    damaged_down: int = 0
    """Stretches that reached the host and were no frame."""
    stray: int = 0
    """Answers that came twice or too late."""
    reconnects: int = 0
    """Links that were lost and opened again."""
    reboots: int = 0
    """Restarts of the terminal after which state was restored."""
    events_again: int = 0
    """Events sent again after a restart, from the last checkpoint on."""

    @property
    def any(self) -> bool:
        """Whether there was anything to repair."""
        return any(asdict(self).values())


@dataclass
class ReplayResult:
    """What a replay found. Arrays have one entry per verdict, in the order they came."""

    target: str
    pack: str
    """Pack id, hexadecimal."""
    device_pack: str
    build_id: str
    network: bool = True
    """Whether the pack has a network, whose output is then compared."""
    transactions: int = 0
    verdicts: int = 0
    terminals: int = 0
    events: int = 0
    checkpoints: int = 0
    mismatches: int = 0
    first_mismatch: Mismatch | None = None
    doubled: int = 0
    """Events that the terminal scored more often than once since its state was last set."""
    retransmitted: int = 0
    seconds: float = 0.0
    sending_s: float = 0.0
    """The same from the first frame on, without what was prepared before it."""
    bytes_up: int = 0
    """Bytes to the device for events, checkpoints and repairs; state images are not counted."""
    bytes_down: int = 0
    tick_bytes: int = 0
    """How many of ``bytes_down`` are ticks, which only a measuring replay asks for."""
    state_bytes: int = 0
    """Bytes to the device for setting its state, state images above all."""
    state_digest: int = 0
    """CRC-32 over the device's state digests at the end of each terminal's events."""
    chaos: str | None = None
    """The faults that were asked for, as a spec."""
    faults: dict[str, int] = field(default_factory=dict)
    """How many were done, by kind."""
    repaired: Repaired = field(default_factory=Repaired)
    baud: int | None = None
    """Speed of the serial line, where there was one."""
    options: dict[str, object] = field(default_factory=dict)
    """How to ask for it again: long options of ``tinyfin replay`` and their values."""
    fields: dict[str, object] | None = None
    """Fields of the pack's program that the data did not fill, where that was looked at."""
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    device_stats: dict[str, int] = field(default_factory=dict)
    """The terminal's own counters, since it started last."""
    tables: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    """What ran over in all terminals together: pending entries, labels, cards (``tfin_stats``)."""
    monitor_equal: bool | None = None
    """Whether the terminal's monitor image is the twin's; None where it was not compared."""
    drift: str | None = None
    """Of what was replayed from what the pack's DRFT says of its release, in words."""
    row: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Row of the transactions."""
    score_q32: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    raw: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    action: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    flags: npt.NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, np.uint16))
    instructions: npt.NDArray[np.int64] | None = None
    """Guest instructions of each score, or None where they cannot be counted."""

    @property
    def lost(self) -> int:
        """Transactions that should have been answered and got no verdict."""
        return self.transactions - self.verdicts

    @property
    def line_use(self) -> float | None:
        """Bytes to the device, state included, over what the line could have carried meanwhile."""
        if self.baud is None or not self.sending_s:
            return None
        carried = bytes_per_second(self.baud) * self.sending_s
        return (self.bytes_up + self.state_bytes) / carried

    @property
    def unexplained_reboots(self) -> int:
        """Restarts of the terminal that chaos did not cause."""
        return max(0, self.repaired.reboots - self.faults.get("reboot", 0))

    @property
    def compared(self) -> tuple[str, ...]:
        """What was compared of each verdict, and at checkpoints."""
        if not self.verdicts:
            return ()
        network = ("network_output",) if self.network else ()
        state = ("state",) if self.checkpoints else ()
        monitor = () if self.monitor_equal is None else ("monitor",)
        answer = ("score_q32", "raw", "action", "reasons", "flags")
        return ("features", *network, *answer, *state, *monitor)

    @property
    def ok(self) -> bool:
        """Something was asked, all was answered once, all was equal, and by the right pack."""
        return (
            self.verdicts > 0
            and self.first_mismatch is None
            and not self.mismatches
            and not self.lost
            and not self.doubled
            and self.monitor_equal is not False
            and self.device_pack == self.pack
        )

    @property
    def failure_kind(self) -> FailureKind | None:
        """None when it is :attr:`ok`, else a mismatch; other failures are raised, not returned."""
        return None if self.ok else FailureKind.MISMATCH

    def facts(self) -> ReplayFacts:
        """The result without the verdicts themselves."""
        n = max(1, self.verdicts)
        facts = ReplayFacts(
            target=self.target,
            pack=self.pack,
            device_pack=self.device_pack,
            build_id=self.build_id,
            transactions=self.transactions,
            verdicts=self.verdicts,
            terminals=self.terminals,
            events=self.events,
            checkpoints=self.checkpoints,
            compared=list(self.compared),
            mismatches=self.mismatches,
            first_mismatch=Difference(**asdict(first)) if (first := self.first_mismatch) else None,
            lost=self.lost,
            doubled=self.doubled,
            retransmitted=self.retransmitted,
            seconds=round(self.seconds, 3),
            sending_s=round(self.sending_s, 3),
            transactions_per_second=round(self.verdicts / max(self.seconds, 1e-9), 1),
            bytes_up_per_transaction=round(self.bytes_up / n, 2),
            bytes_down_per_transaction=round((self.bytes_down - self.tick_bytes) / n, 2),
            state_bytes=self.state_bytes,
            baud=self.baud,
            line_use=None if self.line_use is None else round(self.line_use, 4),
            state_digest=f"{self.state_digest:08x}",
            chaos=self.chaos,
            faults=dict(sorted(self.faults.items())),
            repaired=asdict(self.repaired),
            unexplained_reboots=self.unexplained_reboots,
            options=self.options,
            flash_bytes=self.flash_bytes,
            ram_bytes=self.ram_bytes,
            device_stats=self.device_stats,
            tables=self.tables,
            drift=self.drift,
        )
        if self.instructions is not None and len(self.instructions):
            facts.instructions = Instructions.of(self.instructions)
        return facts

    def as_dict(self) -> dict[str, object]:
        """The result of ``replay --json``."""
        return self.facts().as_dict()

    def check(self) -> None:
        """Raise MismatchError when anything differed, was lost or was done twice."""
        if self.first_mismatch is not None:
            raise MismatchError(str(self.first_mismatch))
        if self.device_pack != self.pack:
            raise MismatchError(
                f"{self.target}: runs pack {self.device_pack}, not {self.pack}; its answers were "
                "equal all the same. Build and flash the firmware of this run"
            )
        if self.lost or self.mismatches or self.doubled:
            raise MismatchError(
                f"{self.target}: {self.lost} verdicts lost, {self.doubled} events scored twice, "
                f"{self.mismatches} differ; run again"
            )
        if self.monitor_equal is False:
            raise MismatchError(
                f"{self.target}: its monitor counted other numbers than the twin's, though all "
                "verdicts were equal; was anything else scored meanwhile?"
            )
        if not self.verdicts:
            raise MismatchError(
                f"{self.target}: nothing was replayed, so nothing was compared; give data with "
                "transactions to score"
            )
