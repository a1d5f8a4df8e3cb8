# SPDX-License-Identifier: Apache-2.0
"""Transactions through the engine chunk by chunk: memory for a chunk, the state of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.events import SCORE, Notices, Stream, event_stream, stream_in_windows
from tinyfin.data.transactions import Transactions
from tinyfin.features.compiler import Program
from tinyfin.memory import give_back
from tinyfin.pack.sections import encode_schema
from tinyfin.progress import stage
from tinyfin.training.run_folder import Arrays
from tinyfin.twin import FeatureTwin, Replay

__all__ = ["computed_features", "replay_all", "replay_chunks"]

_END = 2**32


def replay_chunks(
    chunks: Iterator[Transactions], twin: FeatureTwin, notices: Notices
) -> Iterator[tuple[Transactions, Replay]]:
    """Each chunk with what the engine computed for it: the numbers that one run over all of it
    gives.

    No chunk may begin before the end of the one before it. What is yet to be said of a transaction
    (outcome, notice) when its chunk ends is carried over.
    """
    carried: Transactions | None = None
    mark = -1
    following = next(chunks, None)
    while following is not None:
        chunk, following = following, next(chunks, None)
        known = 0 if carried is None else len(carried)
        tx = chunk if carried is None else carried.followed_by(chunk)
        stream = event_stream(tx, notices)
        # what happens in the last second of a chunk precedes whatever the next one brings: of a
        # transaction of that second only its own score, and what is known at once, can follow
        done = (stream.index < known) & (stream.t_mono_s <= mark)
        mark = int(chunk.t_mono_s.max()) if following is not None else _END
        now = ~done & (stream.t_mono_s <= mark)
        later = np.unique(stream.index[stream.t_mono_s > mark])
        part = Stream(stream.kind[now], stream.index[now], stream.t_mono_s[now])
        found = twin.run(tx, part)
        yield chunk, found.without(known)
        carried = tx.take(later) if len(later) else None


def replay_all(
    tx: Transactions,
    twin: FeatureTwin,
    notices: Notices,
    names: Sequence[str],
    *,
    since_s: int = 0,
    until_s: int = _END,
) -> Arrays:
    """What the engine computes for all transactions, arrays of :class:`Replay` by name: what one
    run over all of them gives, in the memory of what is asked for.

    Only transactions since ``since_s`` and events before ``until_s``; other rows stay zero.
    """
    out: Arrays = {}
    with stage("through the engine", len(tx), "rows") as running:
        windows = stream_in_windows(tx, notices, since_s=since_s, until_s=until_s)
        for rows, stream in windows:
            found = twin.run(tx.take(rows), stream)
            scored = stream.index[stream.kind == SCORE]
            for name in names:
                part = getattr(found, name)
                if name not in out:
                    out[name] = np.zeros((len(tx), *part.shape[1:]), part.dtype)
                out[name][rows[scored]] = part[scored]
            running.step(len(scored))
    give_back()
    return out


def computed_features(
    tx: Transactions, config: Config, program: Program, name: str, *, until_s: int = _END
) -> tuple[npt.NDArray[np.int16], dict[str, int]]:
    """Features int16[n, F] of all transactions before ``until_s``, state warm, and the counters of
    the engine; ``name`` says on the progress line what they are for. Other rows stay zero."""
    terminals = max(1, len(tx.terminals))
    twin = FeatureTwin(encode_schema(config.schema), program.payload, terminals=terminals)
    with stage(name):
        found = replay_all(tx, twin, config.data.notices, ("features",), until_s=until_s)
    none = np.zeros((len(tx), len(program.feature_names)), np.int16)
    return found.get("features", none), twin.counters()
