# SPDX-License-Identifier: Apache-2.0
"""The twin: the terminal's engine, compiled for the workstation.

The same C sources as in the firmware (``firmware/lib/tinyfin``), so what the twin computes is what
the terminal computes. Training takes its features from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import ACTIONS, ADVICE, advice
from tinyfin.errors import InputError, PackError
from tinyfin.progress import Stage, stage
from tinyfin.twin.sources import require_unchanged

require_unchanged()

from tinyfin.twin._native import (  # noqa: E402  # another engine is refused first
    ENGINE_VERSION,
    NativeEngine,
    NativeNetwork,
    error_name,
    log2_q8,
    pack_memory,
    pack_monitor,
)

if TYPE_CHECKING:
    from tinyfin.data.events import Stream
    from tinyfin.data.transactions import Transactions

Bounds = npt.NDArray[np.uint32]
Events = npt.NDArray[np.uint64]
Inputs = npt.NDArray[np.int8]

__all__ = [
    "ACTIONS",
    "ADVICE",
    "ENGINE_VERSION",
    "FLAGS",
    "FeatureTwin",
    "NetworkTwin",
    "Replay",
    "Twin",
    "Verdict",
    "error_name",
    "log2_q8",
    "pack_monitor",
    "require_good",
]

FLAGS = {
    1: "COLD",
    2: "SATURATED",
    4: "CLOCK",
    8: "NO_HOST",
    16: "SHADOW",
    32: "CONTROL",
    64: "VERIFY",
}
"""``enum tfin_flag``, by bit."""
_VERIFY = 64

_BATCH = 16384
_BATCH_PER_TERMINAL = 64
"""Events that are put in order of terminals at a time: the more of one terminal, the longer its
state stays in the cache; the fewer in all, the longer their rows do."""

_CHUNK = 200_000
"""A batch for several threads."""


def require_good(pack: bytes) -> None:
    """PackError when the engine refuses what the pack holds; its signature and hashes are not
    looked at, and its golden vectors are not run."""
    size = pack_memory(pack)
    if size < 0:
        raise PackError(f"the engine refuses the pack: {error_name(size)}")
    if pack_monitor(pack) < 0:
        raise PackError("the engine refuses the pack's DRFT or LEVL: the section breaks a rule")


@dataclass(frozen=True)
class Verdict:
    """What the engine answers to one event. ``score_q32`` is a probability times 2**32."""

    id: int
    score_q32: int
    raw: int
    action: int
    reasons: tuple[int, ...]
    flags: int


@dataclass(frozen=True)
class Replay:
    """Everything the engine computed for n transactions, indexed by transaction row."""

    features: npt.NDArray[np.int16]
    """[n, features]"""
    outputs: npt.NDArray[np.int8]
    """[n, network outputs]"""
    score_q32: npt.NDArray[np.uint32]
    raw: npt.NDArray[np.int32]
    action: npt.NDArray[np.uint8]
    """Index into ACTIONS."""
    reasons: npt.NDArray[np.uint16]
    """[n, 3]; the first ``reason_count`` count."""
    reason_count: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint16]
    """Bits of FLAGS."""
    restarts: frozenset[tuple[int, int]] = frozenset()
    """Row and kind (of the stream) of the events before which a restart is assumed."""

    @property
    def advice(self) -> npt.NDArray[np.uint8]:
        """Index into ADVICE: the action, and VERIFY as one of its own."""
        return advice(self.action, self.flags & _VERIFY != 0)

    def without(self, first: int) -> Replay:
        """The same without the first rows."""
        arrays = {
            f.name: getattr(self, f.name)[first:] for f in fields(self) if f.name != "restarts"
        }
        rest = frozenset((row - first, kind) for row, kind in self.restarts if row >= first)
        return Replay(**arrays, restarts=rest)


def _parts(bounds: Bounds, parts: int) -> list[int]:
    """Terminals that begin at most ``parts`` parts of like many events, and the end.

    ``bounds`` are the first events of each terminal, and the end.
    """
    wanted = [int(bounds[-1]) * part // parts for part in range(1, parts)]
    inner = np.searchsorted(bounds[:-1], wanted)
    return sorted({0, *map(int, inner), len(bounds) - 1})


class FeatureTwin:
    """A schema and a feature program without a pack, and the state of ``terminals`` terminals.

    ``schema`` and ``program`` are the payloads of the sections SCHM and PROG. A restart is assumed
    as :class:`Twin` does. Raises PackError when the engine refuses them.
    """

    def __init__(self, schema: bytes, program: bytes, *, terminals: int = 1) -> None:
        try:
            self._engine = NativeEngine(schema, program, terminals)
        except RuntimeError as error:
            raise PackError(f"the engine refuses this feature program: {error}") from error
        self._name_sizes()

    def _name_sizes(self) -> None:
        self.feature_count: int = self._engine.feature_count
        self.input_count: int = self._engine.input_count
        self.output_count: int = self._engine.output_count

    def stats(self, terminal: int) -> dict[str, int]:
        """``tfin_stats`` of the terminal."""
        return dict(self._engine.stats(terminal))

    def counters(self) -> dict[str, int]:
        """``tfin_stats``, summed over all terminals."""
        total: Counter[str] = Counter()
        for terminal in range(self._engine.terminals):
            total.update(self._engine.stats(terminal))
        return dict(total)

    def run(self, tx: Transactions, stream: Stream, *, threads: int = 1) -> Replay:
        """Run a stream of events; state carries on from where it was.

        Releases the GIL. Rows that the stream does not score stay zero. Events run terminal by
        terminal, on ``threads`` threads that share no terminal: the result is the same for any
        number of them. Raises InputError for more terminals than the twin was made for, and with
        the engine's own word for an event that it refuses.
        """
        n = len(tx)
        result = Replay(
            features=np.zeros((n, self.feature_count), np.int16),
            outputs=np.zeros((n, self.output_count), np.int8),
            score_q32=np.zeros(n, np.uint32),
            raw=np.zeros(n, np.int32),
            action=np.zeros(n, np.uint8),
            reasons=np.zeros((n, 3), np.uint16),
            reason_count=np.zeros(n, np.uint8),
            flags=np.zeros(n, np.uint16),
        )
        if n and int(tx.terminal.max()) >= self._engine.terminals:
            raise InputError(
                f"the data has {int(tx.terminal.max()) + 1} terminals, this twin was made for "
                f"{self._engine.terminals}; pass terminals=len(tx.terminals)"
            )
        if len(stream) and not 0 <= stream.index.min() <= stream.index.max() < n:
            raise InputError(f"the stream names rows outside of the {n} transactions")
        columns = (
            tx.id,
            tx.t_mono_s,
            tx.t_local_s,
            np.ascontiguousarray(tx.values),
            tx.present,
            tx.result,
            tx.response,
            tx.action,
            tx.label,
            result.features,
            result.outputs,
            result.score_q32,
            result.raw,
            result.action,
            result.reasons,
            result.reason_count,
            result.flags,
        )
        batch = max(_BATCH, _BATCH_PER_TERMINAL * self._engine.terminals)
        if threads > 1:
            batch = max(batch, _CHUNK) * threads
        with stage("the engine", len(stream), "events") as running:
            self._run(tx, stream, columns, batch, threads, running)
        return replace(result, restarts=frozenset(self._engine.take_restarts()))

    def _run(
        self,
        tx: Transactions,
        stream: Stream,
        columns: Sequence[npt.NDArray[np.generic]],
        batch: int,
        threads: int,
        running: Stage,
    ) -> None:
        for start in range(0, len(stream), batch):
            stop = min(start + batch, len(stream))
            events = np.empty((stop - start, 2), np.uint64)
            bounds = np.empty(self._engine.terminals + 1, np.uint32)
            self._engine.order(
                stream.kind, stream.index, stream.t_mono_s, tx.terminal, start, stop, events, bounds
            )

            def part(
                first: int, last: int, events: Events = events, bounds: Bounds = bounds
            ) -> None:
                try:
                    self._engine.run(events, bounds, first, last, *columns)
                except RuntimeError as error:
                    raise InputError(f"the engine refuses an event: {error}") from error

            parts = _parts(bounds, threads)
            if len(parts) == 2:
                part(parts[0], parts[1])
            else:
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(part, parts[:-1], parts[1:]))
            running.step(stop - start)


class Twin(FeatureTwin):
    """One pack, and the state of ``terminals`` terminals that run it.

    ``keys`` are public keys (32 bytes each) that are trusted like the development key. With
    ``restarts`` (files do not say when terminals were restarted) a restart is assumed in
    every pause that is longer than the clock may step ahead within one boot; without it, only
    where a state was imported or :meth:`rebase_time` called. With ``monitor`` each terminal counts
    what it scores by the pack's sections DRFT and LEVL, and the level of its thresholds moves.
    Raises PackError with the engine's own words when the pack is refused, and for ``monitor``
    with a pack that has neither section.
    """

    def __init__(
        self,
        pack: bytes,
        *,
        terminals: int = 1,
        allow_development_key: bool = True,
        keys: Sequence[bytes] = (),
        restarts: bool = True,
        monitor: bool = False,
    ) -> None:
        try:
            self._engine = NativeEngine(
                bytes(pack), terminals, allow_development_key, b"".join(keys), restarts, monitor
            )
        except RuntimeError as error:
            raise PackError(f"the engine refuses this pack: {error}") from error
        self._name_sizes()
        self.state_size: int = self._engine.state_size
        """Bytes of a state image."""
        self.memory_size: int = self._engine.memory_size
        """Bytes of memory that a terminal needs, state and scratch."""
        self.pack_id: bytes = self._engine.pack_id
        self.security_counter: int = self._engine.security_counter

    def score(
        self,
        terminal: int,
        id: int,
        t_mono_s: int,
        t_local_s: int,
        values: Sequence[int] | npt.NDArray[np.int64],
        present: int,
    ) -> Verdict:
        """Score one event. ``values`` are in the schema's order; a token is its int64 pattern."""
        column = np.ascontiguousarray(values, np.int64)
        try:
            answer = self._engine.score(terminal, id, t_mono_s, t_local_s, column, present)
        except RuntimeError as error:
            raise InputError(f"the engine refuses this event: {error}") from error
        return Verdict(*answer)

    def outcome(
        self, terminal: int, id: int, t_mono_s: int, result: int, response: int, action_taken: int
    ) -> int:
        """Report what became of an event. Returns the engine's error code, 0 when all is well."""
        return int(self._engine.outcome(terminal, id, t_mono_s, result, response, action_taken))

    def notice(
        self, terminal: int, id: int, token: int, t_mono_s: int, t_tx_mono_s: int, fraud: int
    ) -> int:
        """Report what became known later. Returns the engine's error code, 0 when all is well."""
        return int(self._engine.notice(terminal, id, token, t_mono_s, t_tx_mono_s, fraud))

    def features(self, terminal: int) -> npt.NDArray[np.int16]:
        """Features of the last scored event, int16[features]."""
        return np.frombuffer(self._engine.features(terminal), np.int16)

    def inputs(self, terminal: int) -> npt.NDArray[np.int8]:
        """Network inputs of the last scored event, int8[inputs]."""
        return np.frombuffer(self._engine.inputs(terminal), np.int8)

    def outputs(self, terminal: int) -> npt.NDArray[np.int8]:
        """Network outputs of the last scored event, int8[outputs]."""
        return np.frombuffer(self._engine.outputs(terminal), np.int8)

    def infer(self, inputs: Inputs) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:
        """Run the network alone: int8[n, inputs] to (int8[n, outputs], raw int32[n])."""
        return _infer(self._engine, inputs)

    def export_state(self, terminal: int) -> bytes:
        """The terminal's state image."""
        return bytes(self._engine.export_state(terminal))

    def import_state(self, terminal: int, image: bytes) -> None:
        """Import a state image.

        Raises InputError when it is refused. The state is then as it was, or cold when the image
        has the right header and size but is damaged.
        """
        if len(image) != self.state_size:
            raise InputError(f"state image has {len(image)} bytes, expected {self.state_size}")
        rc = self._engine.import_state(terminal, 0, bytes(image))
        if rc != 0:
            raise InputError(f"state image refused: {error_name(rc)}")

    def monitor(self, terminal: int) -> bytes:
        """The terminal's monitor image (docs/formats/probation.md).

        Raises InputError when the twin was made without ``monitor``."""
        try:
            return bytes(self._engine.export_monitor(terminal))
        except RuntimeError as error:
            raise InputError(f"no monitor here: {error}; make the twin with monitor=True") from None

    def import_monitor(self, terminal: int, image: bytes) -> None:
        """Import a monitor image; its level holds at once. Raises InputError when it is refused:
        nothing has changed then."""
        try:
            rc = self._engine.import_monitor(terminal, bytes(image))
        except RuntimeError as error:
            raise InputError(f"no monitor here: {error}; make the twin with monitor=True") from None
        if rc != 0:
            raise InputError(f"monitor image refused: {error_name(rc)}")

    def rebase_time(self, terminal: int, t_mono_s: int) -> int:
        """Set the terminal's clock, whatever the limits of its steps are; a step back begins with
        a cold state. Returns the engine's error code, 0 when all is well."""
        return int(self._engine.rebase_time(terminal, t_mono_s))

    def reset(self, terminal: int) -> None:
        """Forget the terminal's state (cold start)."""
        self._engine.reset(terminal)

    def erase_card(self, terminal: int, token: int) -> None:
        """Forget one card."""
        self._engine.erase_card(terminal, token)

    def state_digest(self, terminal: int) -> int:
        """CRC-32 of the state image's body."""
        return int(self._engine.state_digest(terminal))


class NetworkTwin:
    """A network and its read-out without a pack: the payloads of the sections PLAN and READ.

    Raises PackError when the engine refuses them.
    """

    def __init__(self, plan: bytes, readout: bytes) -> None:
        try:
            self._network = NativeNetwork(plan, readout)
        except RuntimeError as error:
            raise PackError(f"the engine refuses this network: {error}") from error

    def infer(self, inputs: Inputs) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:
        """Run the network: int8[n, inputs] to (int8[n, outputs], raw int32[n])."""
        return _infer(self._network, inputs)


def _infer(
    network: NativeEngine | NativeNetwork, inputs: Inputs
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:
    rows = np.ascontiguousarray(inputs, np.int8)
    width = network.input_count
    if rows.ndim != 2 or rows.shape[1] != width or not width:
        raise InputError(f"inputs of shape {rows.shape}; expected (n, {width})")
    outputs = np.zeros((len(rows), network.output_count), np.int8)
    raw = np.zeros(len(rows), np.int32)
    network.infer(rows, outputs, raw)
    return outputs, raw
