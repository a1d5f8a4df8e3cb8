# SPDX-License-Identifier: Apache-2.0
"""The transactions of a suite, and what its changes make of their stream."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin import config
from tinyfin.data.events import NOTICE, OUTCOME, SCORE, Stream, event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.hil.replay.memory_limit import require_memory
from tinyfin.hil.runs.suites import Change, Simulated, Suite

__all__ = ["change", "cut", "rounds"]

Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]


def rounds(suite: Suite, index: int = 0) -> Iterator[tuple[Transactions, Stream]]:
    """The suite's transactions with their changes; one after the other, until no one wants more.

    index: which of the targets asks. With ``shared`` every target has data of its own.
    """
    data = suite.data
    if data.files:
        path = None if data.config is None else suite.folder / data.config
        settings = config.load(path)
        from tinyfin.data.readers import read

        files = [suite.folder / file for file in data.files]
        require_memory(files)
        tx = read(files, settings)
        yield change(tx, event_stream(tx, settings.data.notices), suite.change)
        return
    seed = data.simulate.seed + (100_000 * index if data.shared else 0)
    while True:
        tx = _simulated(data.simulate, seed)
        yield change(tx, event_stream(tx, "both"), suite.change)
        if data.events is None and data.duration_s is None:
            return
        seed += 1


def cut(stream: Stream, events: int) -> Stream:
    """At most so many events, from the beginning."""
    return Stream(stream.kind[:events], stream.index[:events], stream.t_mono_s[:events])


def _simulated(wanted: Simulated, seed: int) -> Transactions:
    from tinyfin import simulator
    from tinyfin.data.readers import read

    settings = config.load(None)
    asked = settings.simulate.model_copy(
        update={"terminals": wanted.terminals, "days": wanted.days, "seed": seed}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transactions.parquet"
        simulator.write(simulator.simulate(asked), path)
        return read(path, settings)


def change(tx: Transactions, stream: Stream, changes: list[Change]) -> tuple[Transactions, Stream]:
    """The transactions and the stream after all changes, in their order."""
    for one in changes:
        rng = np.random.default_rng(one.seed)
        if one.kind == "clock-jump":
            tx, stream = _jump(tx, stream, one)
        elif one.kind == "lost-outcomes":
            stream = _take(stream, ~_chosen(stream.kind == OUTCOME, one.share, rng))
        elif one.kind == "late-outcomes":
            stream = _late(tx, stream, one, rng)
        else:
            kind = OUTCOME if one.kind == "repeated-outcomes" else NOTICE
            twice = _chosen(stream.kind == kind, one.share, rng)
            stream = _order(stream, np.repeat(np.arange(len(stream)), 1 + twice))
    return tx, stream


def _chosen(which: Bool, share: float, rng: np.random.Generator) -> Bool:
    return which & (rng.random(len(which)) < share)


def _take(stream: Stream, keep: Bool) -> Stream:
    return _order(stream, np.flatnonzero(keep))


def _order(stream: Stream, order: npt.NDArray[np.intp]) -> Stream:
    return Stream(stream.kind[order], stream.index[order], stream.t_mono_s[order])


def _place(tx: Transactions, stream: Stream) -> tuple[Int, Int]:
    """[events] place in the own terminal's stream, and how long that stream is."""
    terminal = tx.terminal[stream.index]
    place = np.zeros(len(stream), np.int64)
    size = np.zeros(len(stream), np.int64)
    for one in np.unique(terminal):
        own = np.flatnonzero(terminal == one)
        place[own] = np.arange(len(own))
        size[own] = len(own)
    return place, size


def _jump(tx: Transactions, stream: Stream, one: Change) -> tuple[Transactions, Stream]:
    place, size = _place(tx, stream)
    late = np.zeros(len(stream), np.int64)
    for at in one.at:
        late += place >= np.floor(at * size)
    shift = late * one.seconds
    rows = np.zeros(len(tx), np.int64)
    scored = stream.kind == SCORE
    rows[stream.index[scored]] = shift[scored]
    if one.clock in ("mono", "both"):
        stream = Stream(stream.kind, stream.index, _moved(stream.t_mono_s, shift))
        tx = replace(tx, t_mono_s=_moved(tx.t_mono_s, rows))
    if one.clock in ("local", "both"):
        tx = replace(tx, t_local_s=_moved(tx.t_local_s, rows))
    return tx, stream


def _moved(times: npt.NDArray[np.uint32], shift: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    moved: npt.NDArray[np.int64] = np.clip(times.astype(np.int64) + shift, 0, 2**32 - 1)
    return moved.astype(np.uint32)


def _late(tx: Transactions, stream: Stream, one: Change, rng: np.random.Generator) -> Stream:
    late = _chosen(stream.kind == OUTCOME, one.share, rng)
    terminal = tx.terminal[stream.index]
    place, _ = _place(tx, stream)
    key = place + late * (one.by_events + 0.5)
    order = np.lexsort((key, terminal))
    moved = _order(stream, order)
    # no event before its predecessor of the same terminal
    times = moved.t_mono_s.astype(np.int64)
    terminal = terminal[order]
    for one_terminal in np.unique(terminal):
        own = terminal == one_terminal
        times[own] = np.maximum.accumulate(times[own])
    return Stream(moved.kind, moved.index, times.astype(np.uint32))
