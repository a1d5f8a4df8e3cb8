# SPDX-License-Identifier: Apache-2.0
"""Replays transactions on a terminal and compares everything it computes with the twin's.

A device is one terminal at a time: the data goes terminal by terminal, each from the state that the
twin gives it. Verdicts are compared one by one; features and network output by the running digest
of every frame; the state by its digest at every checkpoint. What differs is then found by running
the frame again, event by event, with features and network output read back.

A terminal that restarts on the way ends the replay, or, with ``on_reboot="resume"``, gets the state
of the last checkpoint back and the events since then again.

A release takes no state. It is restarted before each terminal's events, which makes it cold.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np

from tinyfin.data.events import SCORE, Stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import BootError, ConfigError
from tinyfin.hil.links.faults import Chaos, ChaosLink
from tinyfin.hil.replay.chunk_replay import ChunkReplay, Standing
from tinyfin.hil.replay.chunks import Chunk, by_terminal, chunks
from tinyfin.hil.replay.compare import Comparer, refuse_other_pack
from tinyfin.hil.replay.localize import Mismatch, localize
from tinyfin.hil.replay.result import Repaired, ReplayResult
from tinyfin.hil.replay.sender import Sender, Sent
from tinyfin.pack.container import Pack
from tinyfin.pack.monitor_image import read_monitor, window
from tinyfin.pack.trust import require_trusted
from tinyfin.progress import Stage, stage
from tinyfin.training.terminal_drift import baseline_line
from tinyfin.twin import Twin, pack_monitor
from tinyfin.wire.client import Client, TargetRebooted
from tinyfin.wire.event_frames import field_types
from tinyfin.wire.links import Link
from tinyfin.wire.messages import Capability, Mark, WireVerdict, parse_verdicts

__all__ = ["CHECKPOINT_EVENTS", "Mismatch", "OnReboot", "Repaired", "ReplayResult", "replay"]

_T = TypeVar("_T")

OnReboot = Literal["fail", "resume"]

CHECKPOINT_EVENTS = 4096
"""Events between two comparisons of the state."""

RESUME_EVENTS = 1024
"""The same where a restart is expected: as many events are sent again, half of them on average."""

_ATTEMPTS = 50  # restarts before one and the same checkpoint


def replay(
    pack: bytes,
    tx: Transactions,
    stream: Stream,
    client: Client | Link,
    *,
    limit: int | None = None,
    warmup: tuple[Transactions, Stream] | None = None,
    instructions: Callable[[int], int] | None = None,
    target: str = "",
    progress: Callable[[int], object] | None = None,
    checkpoint_events: int | None = None,
    keys: Sequence[bytes] = (),
    on_reboot: OnReboot = "fail",
    chaos: Chaos | str | None = None,
) -> ReplayResult:
    """Replay ``stream`` on the terminal behind ``client`` (connected or not) and compare.

    client: a client, or a link from which one is made.
    limit: at most so many transactions, terminal by terminal. warmup: earlier data; its terminals
    start from the state that it leaves, the others cold. instructions: ticks to guest instructions,
    where the target counts them. progress: called with the number of verdicts since the last call.
    checkpoint_events: events between two checkpoints; if None, 4,096, with "resume" 1,024.
    keys: public keys trusted in addition to the development key.
    on_reboot: "resume" restores the last checkpoint's state after a restart and goes on from there;
    a lost link is then opened again, too. "fail" raises what happened.
    chaos: faults for the line (:mod:`tinyfin.hil.links.faults`); lost links are then opened again,
    and reboots need "resume".

    Stops at the first difference, which is in the result (:meth:`ReplayResult.check` raises).
    Raises TargetError when the terminal does not answer (its ``kind`` says how), MismatchError when
    it runs a pack with other events or features, ConfigError when the options contradict.
    """
    if isinstance(chaos, str):
        chaos = Chaos.parse(chaos)
    if chaos is not None and chaos.reboot and on_reboot != "resume":
        raise ConfigError("chaos with reboots needs on_reboot resume (--on-reboot resume)")
    made = client if isinstance(client, Client) else Client(client)
    link, reconnect = made.link, made.reconnect
    if chaos is not None:
        made.link = ChaosLink(link, chaos)
    made.reconnect = reconnect or chaos is not None or on_reboot == "resume"
    if checkpoint_events is None:
        checkpoint_events = RESUME_EVENTS if on_reboot == "resume" else CHECKPOINT_EVENTS
    try:
        run = _Run(pack, made, instructions, target, progress, checkpoint_events, keys, on_reboot)
        scores = int(np.count_nonzero(stream.kind == SCORE))
        total = min(scores, limit or scores)
        with stage(f"replaying on {run.result.target}", total, "transactions") as run.shown:
            return run.all(tx, stream, limit, warmup)
    finally:
        made.link, made.reconnect = link, reconnect


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
        on_reboot: OnReboot,
    ) -> None:
        self.on_reboot = on_reboot
        self.standing = Standing()
        self._under_way: deque[ChunkReplay] = deque()
        self._retry: deque[ChunkReplay] = deque()
        self._asked: deque[tuple[ChunkReplay, Sent | None]] = deque()
        self._stopped = False
        self._differs: ChunkReplay | None = None
        self.pack: Pack = require_trusted(pack, keys, target or client.link.name)
        self.client = client
        self.progress = progress
        self.shown: Stage
        self.checkpoint_events = checkpoint_events
        self.hello = client.connect()
        self.monitored = (
            bool(self.hello.capabilities & Capability.MONITOR)
            and pack_monitor(pack) > 0
            and self.hello.pack_id == self.pack.pack_id.hex()
        )
        self.twin = Twin(pack, keys=keys, monitor=self.monitored)
        self.types = field_types(pack)
        self.token = self.pack.token_field
        self.to_instructions = instructions if self.hello.capabilities & Capability.TICKS else None
        self.result = ReplayResult(
            target or client.link.name,
            self.twin.pack_id.hex(),
            self.hello.pack_id,
            self.hello.build_id,
            network=bool(self.twin.output_count),
        )
        self.names = tuple(str(name) for name in self.pack.meta.get("features", ()))
        refuse_other_pack(self.result.target, self.pack, self.twin, self.types, self.hello)
        self.takes_state = bool(self.hello.capabilities & Capability.STATE)
        self._refuse_release(on_reboot)
        self.new_monitor = self.twin.monitor(0) if self.monitored else b""
        self.rows: list[int] = []
        self.got: list[WireVerdict] = []

    def _refuse_release(self, on_reboot: OnReboot) -> None:
        if not self.hello.capabilities & Capability.REPLAY:
            raise ConfigError(
                f"{self.result.target}: the terminal takes no events: its firmware is a release; "
                "build it without --release, or with --release-replay for an acceptance test"
            )
        if not self.takes_state and on_reboot == "resume":
            raise ConfigError(
                f"{self.result.target}: the terminal is a release and takes no state, so that a "
                "replay cannot resume; leave --on-reboot and --chaos reboots out"
            )
        if self.monitored and self.pack.levels is not None and on_reboot == "resume":
            raise ConfigError(
                f"{self.result.target}: the pack has alert levels, and a restart brings the usual "
                "one back, so that a replay cannot resume; leave --on-reboot and --chaos reboots "
                "out"
            )

    def all(
        self,
        tx: Transactions,
        stream: Stream,
        limit: int | None,
        warmup: tuple[Transactions, Stream] | None,
    ) -> ReplayResult:
        result = self.result
        counters = self.client.counters
        before = (
            counters.retransmitted,
            counters.complaints,
            counters.timeouts,
            self.client.damaged,
            counters.stray,
            counters.reconnects,
        )
        start = time.monotonic()
        if warmup is not None and not self.takes_state:
            raise ConfigError(
                f"{result.target}: the terminal is a release and takes no state, so that it cannot "
                "start warm; leave --warmup and --warm-until out"
            )
        warm = self._warm_states(tx, warmup)
        before_all = self._same_monitor()
        self._source = self._chunk_replays(tx, stream, limit, warm)
        chunk_replay = next(self._source, None)
        sending = time.monotonic()
        if chunk_replay is not None:
            self._retry.append(chunk_replay)
            self._send()
        if self._differs is not None:
            if isinstance(self.client.link, ChaosLink):
                self.client.link.quiet()
            result.first_mismatch = self._again(self._localize)
        result.seconds = time.monotonic() - start
        result.sending_s = time.monotonic() - sending
        self._compare_monitor(before_all)
        self._end(before)
        self._collect()
        return result

    def _same_monitor(self) -> bytes:
        """Gives the twin the monitor that the terminal has before the first event."""
        if not self.monitored:
            return b""
        image = self.client.monitor() if self.takes_state else self.new_monitor
        self.twin.import_monitor(0, image)
        return image

    def _compare_monitor(self, before: bytes) -> None:
        """After a replay without a difference and without a restart that lost counts."""
        if not self.monitored or self._differs is not None or self.result.repaired.reboots:
            return
        image = self._again(self.client.monitor)
        self.result.monitor_equal = image == self.twin.monitor(0)
        if (drift := self.pack.drift) is not None:
            first = read_monitor(before, drift) if self.takes_state else None
            counts = window(first, read_monitor(image, drift))
            self.result.drift = baseline_line(drift, self.names, counts)

    def _end(self, before: tuple[int, ...]) -> None:
        result, counters = self.result, self.client.counters
        now = (
            counters.retransmitted,
            counters.complaints,
            counters.timeouts,
            self.client.damaged,
            counters.stray,
            counters.reconnects,
        )
        repaired = result.repaired
        (
            repaired.frames_resent,
            repaired.complaints,
            repaired.timeouts,
            repaired.damaged_down,
            repaired.stray,
            repaired.reconnects,
        ) = (n - b for n, b in zip(now, before, strict=True))
        result.retransmitted = repaired.frames_resent
        if isinstance(self.client.link, ChaosLink):
            result.chaos = str(self.client.link.chaos)
            result.faults = dict(self.client.link.counts)
            self.client.link.quiet()
        result.device_stats = self._again(self.client.stats)

    def _warm_states(
        self, tx: Transactions, warmup: tuple[Transactions, Stream] | None
    ) -> dict[str, bytes]:
        if warmup is None:
            return {}
        wanted = set(tx.terminals)
        states = {}
        for chunk in by_terminal(*warmup):
            if chunk.name in wanted:
                self.twin.reset(0)
                self.twin.run(chunk.tx, chunk.stream)
                states[chunk.name] = self.twin.export_state(0)
        return states

    def _chunk_replays(
        self, tx: Transactions, stream: Stream, limit: int | None, warm: dict[str, bytes]
    ) -> Iterator[ChunkReplay]:
        """Everything in chunks, the twin's answers with each. Runs the twin when it is drawn."""
        for chunk in by_terminal(tx, stream, limit):
            image = warm.get(chunk.name)
            self.twin.reset(0)
            if image is not None:
                self.twin.import_state(0, image)
            if self.monitored and not self.takes_state:
                self.twin.import_monitor(0, self.new_monitor)  # the terminal will be restarted
            first, left = True, len(chunk.stream)
            for part in chunks(chunk, self.checkpoint_events):
                before = self.twin.stats(0)
                expected = self.twin.run(part.tx, part.stream)
                now = self.twin.stats(0)
                for name, count in self.result.tables.items():
                    self.result.tables[name] = count + now[name] - before[name]
                comparer = Comparer(expected, bool(self.twin.output_count))
                digest = self.twin.state_digest(0)
                left -= len(part.stream)
                yield ChunkReplay(
                    part,
                    image,
                    first,
                    not left,
                    comparer,
                    digest,
                    expected.restarts,
                    self._sender(part, expected.restarts),
                )
                image, first = self.twin.export_state(0), False

    # ------------------------------------------------------------------ all chunks, in one stream

    def _send(self) -> None:
        """Replay all chunks, again from the last checkpoint after every restart, until one differs.

        Frames of several chunks may be under way, so a checkpoint does not leave the line idle.
        """
        attempts, failed_at = 0, -1
        counters = self.client.counters
        while True:
            if not self.takes_state:
                self._restart()
            up, down, state = counters.bytes_up, counters.bytes_down, counters.state_up
            try:
                answers = self.client.pipeline(
                    self._requests(restore=attempts > 0), alone=self.to_instructions is not None
                )
                for payload in answers:
                    self._take(payload)
                if self._stopped and self._differs is None:
                    # a chunk that was not sent to its end asked for no checkpoint
                    device = self.client.checkpoint()
                    self._finish(self._under_way[0], Mark(device.state_digest, device.scored))
                if self._stopped or not self._retry:
                    return
            except TargetRebooted as reboot:
                self._after(reboot)
                if self._differs is not None:
                    return
                self._stopped = False
                done = self.result.checkpoints
                attempts = attempts + 1 if done == failed_at else 1
                failed_at = done
                self._begin_again()
                if attempts == _ATTEMPTS:
                    events = len(self._retry[0].chunk.stream) if self._retry else 0
                    raise BootError(
                        f"{self.result.target}: the terminal restarted {_ATTEMPTS} times before it "
                        f"got through {events} events; take checkpoints more often "
                        "(--checkpoint), or find out why it restarts"
                    ) from reboot
            finally:
                state = counters.state_up - state
                self.result.state_bytes += state
                self.result.bytes_up += counters.bytes_up - up - state
                self.result.bytes_down += counters.bytes_down - down

    def _restart(self) -> None:
        """Make a release cold, by the only way that it offers."""
        self.client.reboot()
        self.hello = self.client.connect()
        self.standing = Standing()

    def _begin_again(self) -> None:
        """What was under way comes first; its first chunk begins with the state before it."""
        while self._under_way:
            chunk_replay = self._under_way.pop()
            self.result.repaired.events_again += chunk_replay.events_sent
            chunk_replay.again(self._sender(chunk_replay.chunk, chunk_replay.restarts))
            self._retry.appendleft(chunk_replay)
        self._asked.clear()

    def _after(self, reboot: TargetRebooted) -> None:
        """Begin a new session with a terminal that has restarted, where that is allowed."""
        if self.on_reboot != "resume":
            raise reboot
        self.result.repaired.reboots += 1
        self.hello = self.client.connect()
        refuse_other_pack(self.result.target, self.pack, self.twin, self.types, self.hello)

    def _state_requests(self, chunk_replay: ChunkReplay) -> Iterator[tuple[int, bytes]]:
        """What puts the device into the state before a chunk."""
        return self.client.state_requests(chunk_replay.image)

    def _requests(self, restore: bool) -> Iterator[tuple[int, bytes]]:
        """Requests of all chunks that are left, for a release of the next terminal's. Notes what
        each asks, for :meth:`_take`."""
        cold = True
        while not self._stopped:
            chunk_replay = self._retry.popleft() if self._retry else next(self._source, None)
            if chunk_replay is None:
                return
            if chunk_replay.first and not self.takes_state and not cold:
                self._retry.appendleft(chunk_replay)
                return
            cold = False
            self._under_way.append(chunk_replay)
            self.result.terminals += chunk_replay.first and not chunk_replay.counted
            chunk_replay.counted = True
            if self.takes_state and (chunk_replay.first or restore):
                for request in self._state_requests(chunk_replay):
                    self._asked.append((chunk_replay, None))
                    yield request
            restore = False
            for frame in chunk_replay.sender.frames():
                sent = chunk_replay.sender.sent.pop()
                chunk_replay.events_sent += sent.end - sent.first
                if isinstance(self.client.link, ChaosLink):
                    self.client.link.count(sent.end - sent.first)
                self._asked.append((chunk_replay, sent))
                yield frame

    def _take(self, payload: bytes) -> None:
        """Compare one answer. Behind a chunk that differs nothing is looked at."""
        chunk_replay, sent = self._asked.popleft()
        if self._differs is not None:
            return
        if sent is None:
            self.client.acknowledged(payload)
            self.standing = Standing()
            return
        if not chunk_replay.begun:
            chunk_replay.begun = True
            chunk_replay.comparer.begin(self.standing.digest)
        answer = parse_verdicts(payload, len(sent.scored))
        self.result.tick_bytes += answer.tick_bytes
        chunk_replay.got += zip(sent.scored, answer.verdicts, strict=True)
        found = chunk_replay.comparer.frame(sent, answer)
        if found:
            chunk_replay.differing += found
            chunk_replay.bad = chunk_replay.bad or sent
            chunk_replay.sender.stopped = self._stopped = True
        if len(chunk_replay.got) > chunk_replay.shown:
            self.shown.step(len(chunk_replay.got) - chunk_replay.shown)
            if self.progress is not None:
                self.progress(len(chunk_replay.got) - chunk_replay.shown)
            chunk_replay.shown = len(chunk_replay.got)
        if answer.mark is not None:
            self._finish(chunk_replay, answer.mark)

    def _finish(self, chunk_replay: ChunkReplay, device: Mark) -> None:
        """A checkpoint: the state has to be the twin's, and everything scored exactly once."""
        result, got = self.result, chunk_replay.got
        self._under_way.popleft()
        # after a difference the rest is not sent; else whatever was not answered is lost
        result.transactions += chunk_replay.chunk.scores if chunk_replay.bad is None else len(got)
        result.verdicts += len(got)
        result.events += chunk_replay.events_sent
        result.mismatches += chunk_replay.differing
        result.checkpoints += 1
        if chunk_replay.last:
            ends = device.state_digest.to_bytes(4, "little")
            result.state_digest = zlib.crc32(ends, result.state_digest)
        self.rows += [int(chunk_replay.chunk.rows[row]) for row, _ in got]
        self.got += [verdict for _, verdict in got]
        due = self.standing.scored + sum(1 for _, v in got if not v.error)
        result.doubled += max(0, device.scored - due)
        self.standing = Standing(chunk_replay.comparer.digest, due)
        same = device.state_digest == chunk_replay.state_digest and device.scored == due
        if chunk_replay.bad is None and same:
            return
        result.mismatches += chunk_replay.bad is None
        self._differs, self._stopped = chunk_replay, True

    def _sender(self, chunk: Chunk, restarts: frozenset[tuple[int, int]]) -> Sender:
        return Sender(
            chunk,
            self.types,
            self.hello,
            self.token,
            ticks=self.to_instructions is not None,
            frame_bytes=lambda: self.client.frame_bytes,
            restarts=restarts,
        )

    def _localize(self) -> Mismatch:
        chunk_replay = self._differs
        assert chunk_replay is not None
        self.twin.reset(0)
        return localize(
            self.client,
            self.twin,
            chunk_replay.chunk,
            chunk_replay.image or self.twin.export_state(0),
            chunk_replay.bad,
            self.names,
            self.types,
            self.token,
        )

    def _again(self, ask: Callable[[], _T]) -> _T:
        """Ask, and once more when the terminal restarted in between and that is allowed."""
        try:
            return ask()
        except TargetRebooted as reboot:
            self._after(reboot)
            return ask()

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
