# SPDX-License-Identifier: Apache-2.0
"""Replays transactions on a terminal and compares everything it computes with the twin's.

A device is one terminal at a time: the data goes terminal by terminal, each from the state that the
twin gives it. Verdicts are compared one by one; features and network output by the running digest
of every frame; the state by its digest at every checkpoint. What differs is then found by running
the frame again, event by event, with features and network output read back.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.data.events import Stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import MismatchError, TargetError
from tinyfin.hil.localize import Mismatch, localize, verdict_difference
from tinyfin.hil.portions import Portion, by_terminal, pieces
from tinyfin.hil.sender import Sender, Sent
from tinyfin.pack.container import Pack
from tinyfin.pack.plan import describe
from tinyfin.pack.trust import require_trusted
from tinyfin.twin import Replay as Expected
from tinyfin.twin import Twin
from tinyfin.wire.client import Client
from tinyfin.wire.events import field_types
from tinyfin.wire.messages import Capability, Verdict, Verdicts, parse_verdicts

__all__ = ["CHECKPOINT_EVENTS", "COMPARED", "Mismatch", "ReplayResult", "replay"]

COMPARED = (
    "features", "network_output", "score_q32", "raw", "action", "reasons", "flags", "state",
)  # fmt: skip

CHECKPOINT_EVENTS = 4096
"""Events between two comparisons of the state."""


@dataclass
class ReplayResult:
    """What a replay found. Arrays have one entry per verdict, in the order they came."""

    target: str
    pack: str
    """Pack id, hexadecimal."""
    device_pack: str
    build_id: str
    transactions: int = 0
    verdicts: int = 0
    terminals: int = 0
    events: int = 0
    checkpoints: int = 0
    mismatches: int = 0
    first_mismatch: Mismatch | None = None
    retransmitted: int = 0
    seconds: float = 0.0
    bytes_up: int = 0
    """Bytes to the device for events, checkpoints and repairs; state images are not counted."""
    bytes_down: int = 0
    tick_bytes: int = 0
    """How many of ``bytes_down`` are ticks, which only a measuring replay asks for."""
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    device_stats: dict[str, int] = field(default_factory=dict)
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
    def ok(self) -> bool:
        """Something was asked, all was answered, all was equal, and by the right pack."""
        return (
            self.verdicts > 0
            and self.first_mismatch is None
            and not self.mismatches
            and not self.lost
            and self.device_pack == self.pack
        )

    def as_dict(self) -> dict[str, Any]:
        """The result of ``replay --json``."""
        n = max(1, self.verdicts)
        result: dict[str, Any] = {
            "target": self.target,
            "pack": self.pack,
            "device_pack": self.device_pack,
            "build_id": self.build_id,
            "transactions": self.transactions,
            "verdicts": self.verdicts,
            "terminals": self.terminals,
            "events": self.events,
            "checkpoints": self.checkpoints,
            "compared": list(COMPARED),
            "mismatches": self.mismatches,
            "first_mismatch": self.first_mismatch.as_dict() if self.first_mismatch else None,
            "lost": self.lost,
            "retransmitted": self.retransmitted,
            "seconds": round(self.seconds, 3),
            "transactions_per_second": round(self.verdicts / max(self.seconds, 1e-9), 1),
            "bytes_up_per_transaction": round(self.bytes_up / n, 2),
            "bytes_down_per_transaction": round((self.bytes_down - self.tick_bytes) / n, 2),
            "flash_bytes": self.flash_bytes,
            "ram_bytes": self.ram_bytes,
            "device_stats": self.device_stats,
        }
        if self.instructions is not None and len(self.instructions):
            result["instructions"] = {
                "median": int(np.median(self.instructions)),
                "p99_9": int(np.percentile(self.instructions, 99.9, method="higher")),
                "max": int(self.instructions.max()),
            }
        return result

    def check(self) -> None:
        """Raise MismatchError when anything differed or was lost."""
        if self.first_mismatch is not None:
            raise MismatchError(str(self.first_mismatch))
        if self.device_pack != self.pack:
            raise MismatchError(
                f"{self.target}: runs pack {self.device_pack}, not {self.pack}; its answers were "
                "equal all the same. Build and flash the firmware of this run"
            )
        if self.lost or self.mismatches:
            raise MismatchError(
                f"{self.target}: {self.lost} verdicts lost, {self.mismatches} differ; run again"
            )
        if not self.verdicts:
            raise MismatchError(
                f"{self.target}: nothing was replayed, so nothing was compared; give data with "
                "transactions to score"
            )


def replay(
    pack: bytes,
    tx: Transactions,
    stream: Stream,
    client: Client,
    *,
    limit: int | None = None,
    warmup: tuple[Transactions, Stream] | None = None,
    instructions: Callable[[int], int] | None = None,
    target: str = "",
    progress: Callable[[int], object] | None = None,
    checkpoint_events: int = CHECKPOINT_EVENTS,
    keys: Sequence[bytes] = (),
) -> ReplayResult:
    """Replay ``stream`` on the terminal behind ``client`` (connected or not) and compare.

    limit: at most so many transactions, terminal by terminal. warmup: earlier data; its terminals
    start from the state that it leaves, the others cold. instructions: ticks to guest instructions,
    where the target counts them. progress: called with the number of verdicts since the last call.
    keys: public keys trusted beside the development key.

    Stops at the first difference, which is in the result (:meth:`ReplayResult.check` raises).
    Raises TargetError when the terminal does not answer, MismatchError when it runs a pack with
    other events or features.
    """
    return _Run(pack, client, instructions, target, progress, checkpoint_events, keys).all(
        tx, stream, limit, warmup
    )


class _Run:
    def __init__(
        self,
        pack: bytes,
        client: Client,
        instructions: Callable[[int], int] | None,
        target: str,
        progress: Callable[[int], object] | None,
        checkpoint_events: int,
        keys: Sequence[bytes],
    ) -> None:
        self.pack: Pack = require_trusted(pack, keys, target or client.link.name)
        self.twin = Twin(pack, keys=keys)
        self.client = client
        self.progress = progress
        self.checkpoint_events = checkpoint_events
        self.hello = client.connect()
        self.types = field_types(pack)
        self.token = self.pack.token_field
        self.to_instructions = (
            instructions if self.hello.capabilities & Capability.TICKS else None
        )
        self.result = ReplayResult(
            target or client.link.name, self.twin.pack_id.hex(), self.hello.pack_id,
            self.hello.build_id,
        )  # fmt: skip
        self.names = tuple(str(name) for name in self.pack.meta.get("features", ()))
        self._refuse_other_pack()
        self.rows: list[int] = []
        self.got: list[Verdict] = []

    def _refuse_other_pack(self) -> None:
        hello, twin = self.hello, self.twin
        if hello.open_error:
            from tinyfin.twin import error_name

            name = error_name(hello.open_error)
            if name.startswith("TFIN_E_KERNEL") and self.pack.plan is not None:
                needed = describe(self.pack.plan)["kernel_names"]
                name += f"; the pack's network needs {', '.join(needed)}"
            raise TargetError(
                f"{self.result.target}: the terminal refused its own pack "
                f"({name}); build and flash it again"
            )
        mine = (len(self.types), twin.feature_count, twin.input_count, twin.output_count,
                twin.state_size)  # fmt: skip
        its = (hello.fields, hello.features, hello.inputs, hello.outputs, hello.state_bytes)
        if mine != its:
            raise MismatchError(
                f"{self.result.target}: runs pack {hello.pack_id}, which is not this run's "
                f"({self.result.pack}): fields, features, inputs, outputs, state bytes are {its}, "
                f"expected {mine}. Build and flash the firmware of this run"
            )

    def all(
        self,
        tx: Transactions,
        stream: Stream,
        limit: int | None,
        warmup: tuple[Transactions, Stream] | None,
    ) -> ReplayResult:
        result = self.result
        before = self.client.counters.retransmitted
        start = time.monotonic()
        warm = self._warm_states(tx, warmup)
        for portion in by_terminal(tx, stream, limit):
            self._set_state(warm.get(portion.name))
            result.terminals += 1
            self.digest = 0
            if not all(self._piece(piece) for piece in pieces(portion, self.checkpoint_events)):
                break
        result.seconds = time.monotonic() - start
        result.retransmitted = self.client.counters.retransmitted - before
        result.device_stats = self.client.stats()
        self._collect()
        return result

    def _warm_states(
        self, tx: Transactions, warmup: tuple[Transactions, Stream] | None
    ) -> dict[str, bytes]:
        if warmup is None:
            return {}
        wanted = set(tx.terminals)
        states = {}
        for portion in by_terminal(*warmup):
            if portion.name in wanted:
                self.twin.reset(0)
                self.twin.run(portion.tx, portion.stream)
                states[portion.name] = self.twin.export_state(0)
        return states

    def _set_state(self, image: bytes | None) -> None:
        self.twin.reset(0)
        if image is None:
            self.client.reset_state()
        else:
            self.twin.import_state(0, image)
            self.client.write_state(image)

    def _piece(self, portion: Portion) -> bool:
        """Replay up to the next checkpoint; False when something differs."""
        result, counters = self.result, self.client.counters
        image = self.twin.export_state(0)
        first_digest = self.digest
        expected = self.twin.run(portion.tx, portion.stream)
        sender = Sender(
            portion, self.types, self.hello, self.token, ticks=self.to_instructions is not None
        )
        compare = _Comparer(portion, expected, self.digest, bool(self.twin.output_count))
        up, down = counters.bytes_up, counters.bytes_down
        bad: Sent | None = None
        answered = 0
        for payload in self.client.pipeline(
            sender.frames(), alone=self.to_instructions is not None
        ):
            sent = sender.sent.popleft()
            answer = parse_verdicts(payload, len(sent.scored))
            answered += len(sent.scored)
            result.verdicts += len(answer.verdicts)
            result.events += sent.end - sent.first
            result.tick_bytes += answer.tick_bytes
            self.rows += [int(portion.rows[row]) for row in sent.scored]
            self.got += answer.verdicts
            differing = compare.frame(sent, answer)
            if differing:
                result.mismatches += differing
                bad = bad or sent
                sender.stopped = True
            if self.progress is not None:
                self.progress(len(sent.scored))
        # after a difference the rest is not sent; else whatever was not answered is lost
        result.transactions += portion.scores if bad is None else answered
        self.digest = compare.digest
        device = self.client.checkpoint()
        result.bytes_up += counters.bytes_up - up
        result.bytes_down += counters.bytes_down - down
        result.checkpoints += 1
        same_state = device.state_digest == self.twin.state_digest(0)
        if bad is None and same_state:
            return True
        result.mismatches += bad is None
        result.first_mismatch = localize(
            self.client, self.twin, portion, image, bad, self.names, self.types, self.token
        )
        self.digest = first_digest
        return False

    def _collect(self) -> None:
        result, got = self.result, self.got
        result.row = np.array(self.rows, np.int64)
        result.score_q32 = np.array([v.score_q32 for v in got], np.uint32)
        result.raw = np.array([v.raw for v in got], np.int32)
        result.action = np.array([v.action for v in got], np.uint8)
        result.flags = np.array([v.flags for v in got], np.uint16)
        if self.to_instructions is not None:
            result.instructions = np.array(
                [self.to_instructions(v.ticks) for v in got if v.ticks is not None], np.int64
            )


class _Comparer:
    """Compares frames with the twin's answers for the same portion."""

    def __init__(self, portion: Portion, expected: Expected, digest: int, network: bool) -> None:
        self.digest = digest
        """CRC-32 over the twin's features and outputs of the events so far."""
        self._features = expected.features
        self._outputs = expected.outputs if network else None
        self._verdicts = [
            Verdict(*row)
            for row in zip(
                expected.score_q32.tolist(), expected.raw.tolist(), expected.action.tolist(),
                (
                    tuple(ids[:count])
                    for ids, count in zip(
                        expected.reasons.tolist(), expected.reason_count.tolist(), strict=True
                    )
                ),
                expected.flags.tolist(), strict=True,
            )
        ]  # fmt: skip

    def frame(self, sent: Sent, answer: Verdicts) -> int:
        """How many verdicts of the frame differ; a digest that differs counts as one."""
        differing = 0
        for row, verdict in zip(sent.scored, answer.verdicts, strict=True):
            self.digest = zlib.crc32(self._features[row].tobytes(), self.digest)
            if self._outputs is not None:
                self.digest = zlib.crc32(self._outputs[row].tobytes(), self.digest)
            differing += verdict_difference(self._verdicts[row], verdict) is not None
        if answer.digest != self.digest or answer.count != sent.count:
            differing = max(1, differing)
        return differing
