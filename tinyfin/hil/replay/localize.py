# SPDX-License-Identifier: Apache-2.0
"""Finds the first event and field in which terminal and twin differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinyfin.data.events import SCORE, Stream
from tinyfin.errors import TinyfinError
from tinyfin.hil.replay.chunks import Chunk
from tinyfin.hil.replay.sender import Sender, Sent
from tinyfin.text import one_line
from tinyfin.twin import Replay, Twin
from tinyfin.wire.client import Client
from tinyfin.wire.messages import WireVerdict, parse_verdicts

__all__ = ["Mismatch", "localize", "verdict_difference"]

_FIELDS = ("error", "raw", "score_q32", "action", "reasons", "flags")
_FEATURES, _OUTPUTS = 0, 2


@dataclass(frozen=True)
class Mismatch:
    """The first difference. ``row`` counts the input's rows from 0; ``field`` says what differs."""

    terminal: str
    row: int
    id: int
    field: str
    expected: object
    got: object
    note: str = ""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        where = f"row {self.row} (id {self.id}, terminal {one_line(self.terminal)})"
        return (
            f"{where}: {self.field} differs: the target gives {self.got}, the workstation "
            f"{self.expected}{note}. Is the firmware built from this run's pack and engine?"
        )


def verdict_difference(expected: WireVerdict, got: WireVerdict) -> str | None:
    """Name of the first field in which two verdicts differ, ticks left aside."""
    if expected[:5] == got[:5] and expected.error == got.error:
        return None
    return next((name for name in _FIELDS if getattr(expected, name) != getattr(got, name)), None)


def localize(
    client: Client,
    twin: Twin,
    chunk: Chunk,
    image: bytes,
    bad: Sent | None,
    names: Sequence[str],
    types: tuple[int, ...],
    token: int | None,
) -> Mismatch:
    """Run the chunk again from ``image``: frames before ``bad`` at once, its events one by one.

    Without a bad frame the states differ in the end: then every event is looked at.
    """
    first, end = (bad.first, bad.end) if bad is not None else (0, len(chunk.stream))
    try:
        client.write_state(image)
    except TinyfinError as error:
        return _unknown(chunk, bad, f"the terminal takes no state of this pack: {error}")
    twin.import_state(0, image)
    before = _cut(chunk, 0, first)
    restarts = twin.run(before.tx, before.stream).restarts
    sent = Sender(before, types, client.hello, token, restarts=restarts)
    for _ in client.pipeline(sent.frames()):
        pass
    for at in range(first, end):
        one = _cut(chunk, at, at + 1)
        expected = twin.run(one.tx, one.stream)
        sender = Sender(
            one, types, client.hello, token, one_by_one=True, restarts=expected.restarts
        )
        (payload,) = client.pipeline(sender.frames())
        if chunk.stream.kind[at] == SCORE:
            found = _compare_event(client, one, expected, payload, names)
            if found is not None:
                return found
        elif bad is None:
            found = _compare_state(client, twin, one, "after its outcome or notice")
            if found is not None:
                return found
    if bad is None:
        last = _cut(chunk, len(chunk.stream) - 1, len(chunk.stream))
        found = _compare_state(client, twin, last, "at a checkpoint")
        if found is not None:
            return found
    return _unknown(chunk, bad, "a second run gave equal answers: the terminal is not steady")


def _cut(chunk: Chunk, first: int, end: int) -> Chunk:
    stream = chunk.stream
    cut = Stream(stream.kind[first:end], stream.index[first:end], stream.t_mono_s[first:end])
    if end - first == 1:
        row = int(cut.index[0])
        rows = np.array([row])
        one = Stream(cut.kind, np.zeros(1, np.int64), cut.t_mono_s)
        return Chunk(chunk.name, chunk.rows[rows], chunk.tx.take(rows), one)
    return Chunk(chunk.name, chunk.rows, chunk.tx, cut)


def _compare_event(
    client: Client, one: Chunk, expected: Replay, payload: bytes, names: Sequence[str]
) -> Mismatch | None:
    def differs(field: str, want: object, got: object) -> Mismatch:
        return Mismatch(one.name, int(one.tx.row[0]), int(one.tx.id[0]), field, want, got)

    (got,) = parse_verdicts(payload, 1).verdicts
    if got.error:
        return differs("engine error", 0, got.error)
    features = np.frombuffer(client.detail(_FEATURES), "<i2")
    for i, (want, have) in enumerate(
        zip(expected.features[0].tolist(), features.tolist(), strict=True)
    ):
        if want != have:
            return differs(f"feature {names[i] if i < len(names) else i}", want, have)
    outputs = np.frombuffer(client.detail(_OUTPUTS), np.int8)
    for i, (want, have) in enumerate(
        zip(expected.outputs[0].tolist(), outputs.tolist(), strict=True)
    ):
        if want != have:
            return differs(f"network output {i}", want, have)
    wanted = WireVerdict(
        int(expected.score_q32[0]),
        int(expected.raw[0]),
        int(expected.action[0]),
        tuple(expected.reasons[0, : expected.reason_count[0]].tolist()),
        int(expected.flags[0]),
    )
    field = verdict_difference(wanted, got)
    return differs(field, getattr(wanted, field), getattr(got, field)) if field else None


def _compare_state(client: Client, twin: Twin, one: Chunk, when: str) -> Mismatch | None:
    if client.checkpoint().state_digest == twin.state_digest(0):
        return None
    want = twin.export_state(0)
    got = client.read_state()
    at = next((i for i in range(64, len(want)) if want[i] != got[i]), None)
    if at is None:
        field, expected, have = "state that is never exported", "", ""
    else:
        field, expected, have = f"byte {at} of the state image", f"{want[at]}", f"{got[at]}"
    return Mismatch(one.name, int(one.tx.row[0]), int(one.tx.id[0]), field, expected, have, when)


def _unknown(chunk: Chunk, bad: Sent | None, why: str) -> Mismatch:
    row = bad.scored[0] if bad is not None and bad.scored else int(chunk.stream.index[-1])
    return Mismatch(
        chunk.name,
        int(chunk.tx.row[row]),
        int(chunk.tx.id[row]),
        "digest of features and network output" if bad is not None else "state digest",
        "",
        "",
        why,
    )
